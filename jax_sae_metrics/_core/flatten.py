"""Nested results as one flat dictionary."""

from collections.abc import Mapping
from typing import Any


class SameNameError(ValueError):
    """Two results would have the same name."""


def flatten(results: Mapping[str, Any]) -> dict[str, Any]:
    """Join the keys of nested dictionaries by a slash; raise if two of them become the same."""
    flat: dict[str, Any] = {}
    for name, value in results.items():
        named = {name: value}
        if isinstance(value, Mapping):
            named = {f"{name}/{inner}": leaf for inner, leaf in flatten(value).items()}
        if clash := flat.keys() & named.keys():
            raise SameNameError(f"two results have the same name: {', '.join(sorted(clash))}.")
        flat |= named
    return flat
