"""Packages that the benchmarks compare with, or draw with, if they are here."""

import importlib
from typing import Any

# What was left out, as it was printed.
skipped: list[str] = []


def import_or_skip(module: str, what: str) -> Any:
    """Return the module; if it is missing, say what is left out and return None."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        skip(f"{what}: {module} cannot be imported ({error})")
        return None


def skip(reason: str) -> None:
    """Say once that something is left out, and why."""
    if reason not in skipped:
        skipped.append(reason)
        print(f"skipped: {reason}", flush=True)
