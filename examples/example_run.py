"""What all examples share: options of the command line, and files with the results."""

import argparse
import json
from pathlib import Path
from typing import Any

from jax_sae_metrics.evaluation import Evaluation


def new_parser(description: str, name: str) -> argparse.ArgumentParser:
    """A parser with the options of all examples."""
    parser = argparse.ArgumentParser(description=description)
    add = parser.add_argument
    add("--corpus", type=Path, help="text file, or folder of them (default: standard library)")
    add("--quick", action="store_true", help="a smoke test: few steps, poor results")
    add("--seed", type=int, default=0)
    add("--output", type=Path, help=f"folder for the results (default: results/{name})")
    return parser


def output_folder(arguments: argparse.Namespace, name: str) -> Path:
    """The folder for the results. By default, quick runs do not overwrite those of full ones."""
    by_default = Path("results") / (f"{name}-quick" if arguments.quick else name)
    output = arguments.output or by_default
    output.mkdir(parents=True, exist_ok=True)
    return output


def write(result: Evaluation, output: Path, title: str, **numbers: Any) -> None:
    """Write the states, the report, and all numbers."""
    result.save(output / "states.npz")
    (output / "report.html").write_text(result.report(title), encoding="utf-8")
    numbers |= {"about": result.about, "results": json.loads(result.to_json())}
    (output / "metrics.json").write_text(json.dumps(numbers, indent=1) + "\n")
