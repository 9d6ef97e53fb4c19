"""Run the benchmarks on JAX's default device.

    python -m benchmarks                           # everything: about an hour on a CPU
    python -m benchmarks --only train_step top_k   # some suites
    python -m benchmarks --quick                   # tiny sizes: does everything run?

Prints a table for each comparison and writes `timing.json` and pictures of the ratios.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .environment import device_name, environment, file_name
from .measure import measure
from .optional import skip, skipped
from .plots import draw
from .report import Facts, Result, print_facts, print_result, write_json
from .suites import SUITES

_QUICK_SECONDS = 0.5
COMPILE_ONLY = "compile_only"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    suites = [*SUITES, COMPILE_ONLY]
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=suites, help=", ".join(suites))
    parser.add_argument("--quick", action="store_true", help="tiny sizes, whose times mean nothing")
    parser.add_argument(
        "--output", type=Path, help="folder to write to, by default one named after the device"
    )
    arguments = parser.parse_args()

    chosen = arguments.only or suites
    timed = [name for name in chosen if name in SUITES]
    if timed:
        _time(timed, arguments)
    if COMPILE_ONLY in chosen:
        _compile_only(arguments)


def _time(suites: Sequence[str], arguments: argparse.Namespace) -> None:
    setting = environment()
    print(f"{device_name(setting)}, JAX {setting['versions']['jax']}")
    output = arguments.output or _default_output(file_name(setting), arguments.quick)
    output.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    facts: list[Facts] = []
    start = time.perf_counter()
    for name in suites:
        for build in SUITES[name](arguments.quick):
            built = build()
            if isinstance(built, Facts):
                facts.append(built)
                print_facts(built)
                continue
            budget = _QUICK_SECONDS if arguments.quick else built.seconds
            result = Result.of(built, measure(built, budget))
            del built  # and with it the arrays, before the next are made
            results.append(result)
            print_result(result)
            # What was measured is kept, even if a later comparison fails.
            _write(output, setting, arguments.quick, results, facts)
    _write(output, setting, arguments.quick, results, facts)
    try:
        pictures = draw(output, device_name(setting), setting, results)
    except ImportError as error:
        skip(f"pictures: matplotlib cannot be imported ({error})")
        pictures = []
        _write(output, setting, arguments.quick, results, facts)
    print(f"\n{time.perf_counter() - start:.0f} s. Written to {output}: timing.json", *pictures)


def _compile_only(arguments: argparse.Namespace) -> None:
    """Run it in a separate process: compilers for TPUs look for the machine that they are on."""
    options = ["--quick"] if arguments.quick else []
    options += ["--output", str(arguments.output)] if arguments.output else []
    command = [sys.executable, "-m", "benchmarks.compile_only", *options]
    subprocess.run(command, check=True, env=os.environ | {"JAX_PLATFORMS": "cpu"})


def _default_output(device: str, is_quick: bool) -> Path:
    return Path(__file__).parent / "results" / (f"{device}-quick" if is_quick else device)


def _write(
    output: Path, setting: dict, is_quick: bool, results: list[Result], facts: list[Facts]
) -> None:
    write_json(output / "timing.json", setting, is_quick, results, facts, skipped)


if __name__ == "__main__":
    main()
