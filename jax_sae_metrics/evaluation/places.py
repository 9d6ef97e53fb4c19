"""The components that the results of a metric are of, by name."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from .._core import AbstractMetric, MetricCollection, PerComponent
from .._output.results import axes_of_results, names_of_entries

MEAN = "mean"


class Place(NamedTuple):
    """Where a number stands in a table: its row, and its component or their mean, if any."""

    result: str
    component: str | None


def component_names(metric: AbstractMetric[Any]) -> tuple[str, ...]:
    """The names of the components, or their numbers if they have none."""
    if isinstance(metric, PerComponent):
        return metric.component_names
    if isinstance(metric, MetricCollection):
        return max(map(component_names, metric.metrics.values()), key=len)
    return tuple(map(str, range(metric._sizes["component"] or 0)))


def single_metrics(
    metric: AbstractMetric[Any], state: Any, name: str = ""
) -> Iterator[tuple[str, AbstractMetric[Any], Any]]:
    """The metrics of collections inside of collections, with their whole names and states.

    Outside of a collection, a metric has no name.
    """
    if not isinstance(metric, MetricCollection):
        yield name, metric, state
        return
    for key, one in metric.metrics.items():
        yield from single_metrics(one, state[key], f"{name}/{key}" if name else key)


def with_names(metric: AbstractMetric[Any], names: tuple[str, ...]) -> AbstractMetric[Any]:
    """The metric with names for its components, where it has none. Its states are the same."""
    if isinstance(metric, MetricCollection):
        return MetricCollection({n: with_names(one, names) for n, one in metric.metrics.items()})
    own = component_names(metric)
    if isinstance(metric, PerComponent) or not own:
        return metric
    return PerComponent(metric, names if len(names) == len(own) else own)


def without_names(metric: AbstractMetric[Any], state: Any) -> tuple[AbstractMetric[Any], Any]:
    """What has a component axis, with this axis instead of names, and its part of the state."""
    if isinstance(metric, PerComponent):
        return metric.metric, state
    if not isinstance(metric, MetricCollection):
        return metric, state
    parts = {
        name: without_names(one, state[name])
        for name, one in metric.metrics.items()
        if component_names(one)
    }
    inner = MetricCollection({name: one for name, (one, _) in parts.items()})
    return inner, {name: part for name, (_, part) in parts.items()}


def places(metric: AbstractMetric[Any]) -> dict[str, Place]:
    """The place of each number of a metric whose components have names."""
    results, components = axes_of_results(metric), component_names(metric)
    found = {}
    for result, axes in results.items():
        place = _of_result(result, components, results)
        for name in names_of_entries(metric, result, axes, "", "/"):
            setting = name.removeprefix(result)
            found[name] = Place(place.result + setting, place.component)
    return found


def _of_result(result: str, components: tuple[str, ...], results: Any) -> Place:
    before, _, last = result.rpartition("/")
    siblings = (f"{before}/{name}" if before else name for name in components)
    if last in components or (last == MEAN and any(name in results for name in siblings)):
        return Place(before, last)
    return Place(result, None)
