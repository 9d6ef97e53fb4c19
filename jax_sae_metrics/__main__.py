"""Commands: `python -m jax_sae_metrics report states.npz -o report.html`."""

import argparse
import sys
from pathlib import Path

from .evaluation import Evaluation


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="python -m jax_sae_metrics")
    commands = parser.add_subparsers(required=True, metavar="command")
    report = commands.add_parser(
        "report",
        help="write a page that shows saved states: a table, figures, definitions",
        description="Write one HTML file that shows saved states: a table with standard errors, "
        "figures, the definitions, and what is known of the run.",
    )
    report.add_argument(
        "states", type=Path, help="file of Evaluation.save, or np.savez of a state_dict"
    )
    report.add_argument("-o", "--output", type=Path, default=Path("report.html"))
    report.add_argument("--title", help="heading of the page (default: the name of the file)")
    report.set_defaults(run=_report)
    chosen = parser.parse_args(arguments)
    try:
        chosen.run(chosen)
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"error: {error}")


def _report(chosen: argparse.Namespace) -> None:
    result = Evaluation.load(chosen.states)
    chosen.output.write_text(result.report(chosen.title or chosen.states.stem), encoding="utf-8")
    print(f"Written to {chosen.output}.")


if __name__ == "__main__":
    main()
