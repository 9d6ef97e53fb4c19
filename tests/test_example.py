"""The example runs end to end and writes what it prints."""

import json
import math
import pathlib
import subprocess
import sys

import pytest

EXAMPLE = pathlib.Path(__file__).parents[1] / "examples/train_sae.py"
COMPONENTS = ["block_0", "block_1", "block_2", "mean"]
COLUMNS = ["L0", "dead", "L1", "L2", "loss"]
COLUMNS += ["clean", "reconstructed", "zero_ablated", "score"]


@pytest.mark.exhaustive
def test_the_example_measures_what_it_trains(tmp_path):
    """It runs in miniature, as users run it: in a separate process, with warnings as errors."""
    output = tmp_path / "metrics.json"
    flags = ["--quick", "--steps", "40", "--output", str(output)]
    run = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE), *flags],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    report = json.loads(output.read_text())
    results = report["results"]
    assert list(results) == COMPONENTS
    for component, row in results.items():
        assert list(row) == COLUMNS
        assert all(math.isfinite(value) for value in row.values())
        assert component in run.stdout
        assert row["clean"] < row["zero_ablated"], "zero ablation must hurt"
        assert row["loss"] < 0.9, "the autoencoders must have learned something"
        lost = row["zero_ablated"] - row["reconstructed"], row["zero_ablated"] - row["clean"]
        if component != "mean":
            assert math.isclose(row["score"], lost[0] / lost[1], rel_tol=1e-4)
    with_error = [name for name in COLUMNS if name != "dead"]
    for table in ("standard_errors", "times_the_error_over_bytes"):
        assert list(report[table]) == COMPONENTS
        for row in report[table].values():
            assert list(row) == with_error
            assert all(math.isfinite(value) and value > 0 for value in row.values())
