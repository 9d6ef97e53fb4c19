"""What of a table runs by default, and what only where everything is crossed with everything."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def all_of(values: Iterable[Any], by_default: Collection[Any]) -> list[Any]:
    """Parameters for `pytest.mark.parametrize`: those not run by default are exhaustive.

    A test is exhaustive if any of its parameters is.
    """
    return [
        pytest.param(
            *(value if isinstance(value, tuple) else (value,)),
            marks=() if value in by_default else pytest.mark.exhaustive,
        )
        for value in values
    ]
