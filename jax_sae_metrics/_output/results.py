"""The results of a metric, and the names of their entries in a log."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from .._core import AbstractMetric
from .._core.metric import labels_of

Result = TypeVar("Result")
# For each axis its labels, or the name of a long one.
Axes = tuple[tuple[Any, ...] | str, ...]


def by_result(value: Any) -> dict[str, Any]:
    """A value as a dictionary of results; a result without a name is called ""."""
    return value if isinstance(value, dict) else {"": value}


def axes_of_results(metric: AbstractMetric[Any]) -> dict[str, Axes]:
    """For each result, the labels along each of its axes, or the name of a long one."""
    return by_result(labels_of(metric))


def short(axes: Axes) -> list[Any]:
    """The axes before the first long one, which has too many entries to name them all."""
    return list(itertools.takewhile(lambda labels: not isinstance(labels, str), axes))


def is_long(axes: Axes) -> bool:
    """Whether one of the axes is long."""
    return len(short(axes)) < len(axes)


def names_of_entries(
    metric: AbstractMetric[Any], result: str, axes: Axes, prefix: str, separator: str
) -> Iterator[str]:
    """The names of all entries along the short axes of a result."""
    result_name = result.replace("/", separator)
    first = prefix or ("" if result else type(metric).__name__)
    for labels in itertools.product(*short(axes)):
        yield separator.join(filter(None, (first, result_name, *map(str, labels))))


def once_each(named: Iterable[tuple[str, Result]]) -> dict[str, Result]:
    """A dictionary of what is named; raise if two have the same name."""
    results: dict[str, Result] = {}
    for name, result in named:
        if name in results:
            raise ValueError(
                f"Two results would have the name {name!r}. Rename one of the metrics, or choose "
                "another separator."
            )
        results[name] = result
    return results
