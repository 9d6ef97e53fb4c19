"""What is drawn, as NumPy arrays: of plain arrays, or of a metric and its state."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from .._configuration import brief
from .._core import AbstractMetric


def is_pair(given: Any) -> bool:
    """Whether this is a pair of a metric and its state."""
    return isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], AbstractMetric)


def is_evaluation(given: Any) -> bool:
    """Whether this is an `Evaluation`."""
    return all(hasattr(given, name) for name in ("names", "values", "errors"))


def of_components(result: Any, name: str) -> tuple[list[float], list[float]]:
    """The values of an evaluation's components under a name, and their errors."""
    keys = [f"{name}/{component}" for component in result.names]
    if missing := [key for key in keys if key not in result.values]:
        results = dict.fromkeys(key.rpartition("/")[0] for key in result.values)
        raise ValueError(f"The evaluation has no {missing[0]!r}. It has {', '.join(results)}.")
    values = [float(result.values[key]) for key in keys]
    return values, [float(result.errors.get(key, np.nan)) for key in keys]


def value_of(given: Any) -> Any:
    """The value of a pair `(metric, state)`; anything else as it is."""
    return given[0].compute(given[1]) if is_pair(given) else given


def numbers(name: str, given: Any, *axes: str, has_nan: bool = False) -> Float64[np.ndarray, "..."]:
    """Finite numbers, or NaN where it may be, with these axes; "component?" may be missing."""
    value = value_of(given)
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: expected an array of numbers, got {brief(value)}.") from error
    least = sum(not axis.endswith("?") for axis in axes)
    if not least <= array.ndim <= len(axes) or 0 in array.shape:
        raise ValueError(
            f"{name}: expected shape [{', '.join(axes)}], not empty, got {array.shape}."
        )
    if not (np.isfinite(array) | (has_nan & np.isnan(array))).all():
        raise ValueError(
            f"{name}: expected finite numbers, got {brief(array)}. NaN is the value of a metric "
            "that has seen nothing, or something not finite. Leave it out, or update its state "
            "first."
        )
    return array


def by_component(
    name: str, given: Any, names: Sequence[str] | None, axis: str
) -> dict[str, Float64[np.ndarray, " entry"]]:
    """One row of numbers for each component, by its label; "" for one that needs none."""
    value = value_of(given)
    if isinstance(value, Mapping):
        if names is not None:
            raise ValueError(f"names: leave it out, {name} has the names {tuple(value)}.")
        if not value:
            raise ValueError(f"{name}: expected at least one component, got none.")
        return {str(key): numbers(f"{name}[{key!r}]", row, axis) for key, row in value.items()}
    array = numbers(name, value, "component?", axis)
    rows = array.reshape(-1, array.shape[-1])
    return dict(zip(labels(names, len(rows)), rows, strict=True))


def labels(names: Sequence[str] | None, number: int) -> list[str]:
    """The names of so many components; without any, their numbers, or "" for one alone."""
    if names is None:
        return [f"component {index}" for index in range(number)] if number > 1 else [""]
    if isinstance(names, str) or len(names) != number or len({*names}) != number:
        raise ValueError(
            f"names: expected {number} different names, one for each component, got {brief(names)}."
        )
    return list(map(str, names))
