"""Which rows of a table run by default, and which only where all is crossed with all."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def all_of(values: Iterable[Any], by_default: Collection[Any]) -> list[Any]:
    """Parameters for `pytest.mark.parametrize`; what is not run by default is exhaustive.

    A test is exhaustive if any of its parameters is.
    """
    return [
        pytest.param(
            *(value if isinstance(value, tuple) else (value,)),
            marks=() if value in by_default else pytest.mark.exhaustive,
        )
        for value in values
    ]
