"""Checks of metric configurations, made once, when a metric is built."""

import math
from typing import Any

# Metadata of a field that has no part in counting. Metrics that differ only in such fields can read
# each other's states.
ONLY_READS = "only_reads"


def brief(value: Any) -> str:
    """What a value prints, on one line and cut to 200 characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 200 else f"{text[:197]}..."


def as_tuple(values: Any) -> Any:
    """Values in an order as a tuple; anything else as it is, for a check to name."""
    if isinstance(values, str | set | frozenset):
        return values
    try:
        return tuple(values)
    except TypeError:
        return values


def check_in_order(name: str, values: Any, at_least: int = 1) -> None:
    """Raise unless `values` is a tuple, as `as_tuple` makes it, of so many values."""
    if not (isinstance(values, tuple) and len(values) >= at_least):
        raise ValueError(
            f"{name}: expected values in an order, such as a tuple, and at least {at_least} of "
            f"them, got {brief(values)}."
        )


def check_size(name: str, value: Any) -> None:
    """Raise unless `value` is a positive integer."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}: expected a positive Python int, got {brief(value)}.")


def check_between(name: str, value: Any, lowest: float, highest: float = math.inf) -> None:
    """Raise unless `value` is a finite number from `lowest` to `highest`."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and math.isfinite(value) and lowest <= value <= highest):
        upper = "" if highest == math.inf else f" and at most {highest}"
        raise ValueError(
            f"{name}: expected a Python number of at least {lowest}{upper}, got {brief(value)}."
        )


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise unless `value` is one of `choices`."""
    if not (isinstance(value, str) and value in choices):
        raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {brief(value)}.")


def check_name(name: str, value: Any) -> None:
    """Raise unless `value` is a string that is not empty."""
    if not (isinstance(value, str) and value):
        raise ValueError(f"{name}: expected non-empty strings, got {brief(value)}.")


def check_text(name: str, value: Any) -> None:
    """Raise unless `value` is a string, which may be empty."""
    if not isinstance(value, str):
        raise ValueError(f"{name}: expected a string, got {brief(value)}.")


def check_flag(name: str, value: Any) -> None:
    """Raise unless `value` is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name}: expected True or False, got {brief(value)}.")
