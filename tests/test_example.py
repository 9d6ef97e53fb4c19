"""The examples run end to end, and write what they print."""

import json
import math
import pathlib
import subprocess
import sys

import pytest

from jax_sae_metrics.evaluation import Evaluation

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"
BLOCKS = ["block_0", "block_1", "block_2"]
ARCHITECTURES = ["ReLU", "TopK", "BatchTopK", "JumpReLU"]


def run(name, *flags):
    """As users run it: in a separate process. Warnings are errors."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), "--quick", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def written(output, *pictures):
    """The numbers, after a look at everything else that was written."""
    assert {path.name for path in output.iterdir()} == {
        *("metrics.json", "states.npz", "report.html"),
        *pictures,
    }
    for picture in pictures:
        assert (output / picture).read_bytes().startswith(b"\x89PNG")
    assert (output / "report.html").read_text(encoding="utf-8").rstrip().endswith("</html>")
    report = json.loads((output / "metrics.json").read_text())
    for name, numbers in report["results"].items():
        assert all(number is not None and math.isfinite(number) for number in numbers.values()), (
            name
        )
    saved = Evaluation.load(output / "states.npz")
    assert saved.about == report["about"]
    assert saved.about["seed"] == "3"
    assert json.loads(saved.to_json()) == report["results"]
    return report


@pytest.mark.exhaustive
def test_the_example_measures_what_it_trains(tmp_path):
    printed = run("train_sae.py", "--steps", "40", "--seed", "3", "--output", str(tmp_path))
    examples = [f"top_examples_{block}.png" for block in BLOCKS]
    pictures = ("density.png", "losses.png", "dead_features.png", *examples)
    report = written(tmp_path, *pictures)

    def value(name):
        return report["results"][name]["value"]

    for block in BLOCKS:
        assert block in printed
        clean, reconstructed, ablated = (
            value(f"ce_loss/{of}/{block}")
            for of in ("source", "with_reconstruction", "with_zero_ablation")
        )
        assert clean < ablated, "zero ablation must hurt"
        assert math.isclose(
            value(f"ce_loss_score/{block}"),
            (ablated - reconstructed) / (ablated - clean),
            rel_tol=1e-3,
        )
        assert value(f"explained_variance/{block}") > 0.8, "it must have learned something"
        assert report["results"][f"ce_loss_score/{block}"]["standard_error"] > 0
    difference, error = report["difference"]["ce_loss_score"]
    wanted = value("ce_loss_score/block_0") - value("ce_loss_score/block_2")
    assert math.isclose(difference, wanted, abs_tol=1e-5)
    assert error > 0
    assert [step["tokens_seen"] for step in report["training"]] == [20 * 512, 40 * 512]
    # Five examples of each of three features, with the byte marked.
    assert printed.count("«") == printed.count("»") == 15


@pytest.mark.exhaustive
def test_the_example_compares_architectures(tmp_path):
    printed = run("pareto.py", "--seed", "3", "--output", str(tmp_path))
    report = written(tmp_path, "pareto.png")
    names = [f"{architecture}_{k}" for architecture in ARCHITECTURES for k in (8, 16, 32)]
    of_l0 = {
        name.removeprefix("l0/"): numbers
        for name, numbers in report["results"].items()
        if name.startswith("l0/")
    }
    assert list(of_l0) == [*names, "mean"]
    for k in (8, 16):
        # Features that are equal to the smallest of the k are active too.
        assert math.isclose(of_l0[f"TopK_{k}"]["value"], k, rel_tol=0.01)
        assert math.isclose(of_l0[f"BatchTopK_{k}"]["value"], k, rel_tol=0.1)
    assert len(report["differences"]) == 9
    for name, difference in report["differences"].items():
        assert name in printed
        one, other = name.split(" - ")
        for result in ("l0", "explained_variance", "ce_loss_score"):
            values = (report["results"][f"{result}/{each}"]["value"] for each in (one, other))
            assert math.isclose(difference[result][0], next(values) - next(values), abs_tol=1e-4)
            assert difference[result][1] > 0
