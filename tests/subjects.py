"""What a law is tested on: a metric alone, or many of them in one collection.

Many are compiled, and so paid for, together.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_sae_metrics as jsm
from jax_sae_metrics._accumulator import Stacked
from jax_sae_metrics._core.collection_state import opened
from metric_case import MetricCase, by_what_they_read, draw_inputs
from metric_cases import ALL_CASES

COMPONENTS = 3


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """Some metrics as one: the metric of the only case, or a collection of all by name."""

    cases: tuple[MetricCase, ...]
    is_collection: bool

    def build(self, num_components: int | None = COMPONENTS) -> jsm.AbstractMetric:
        """The metric."""
        metrics = {case.name: case.build(num_components) for case in self.cases}
        return jsm.MetricCollection(metrics) if self.is_collection else metrics[self.cases[0].name]

    def inputs(self, size: int = 8, seed: int = 0) -> dict[str, jax.Array]:
        """A batch, the first axis of it of the given size."""
        batch = draw_inputs(self.names(), self.batch_shape(size), COMPONENTS, seed)
        return {name: jnp.asarray(values) for name, values in batch.items()}

    def names(self) -> tuple[str, ...]:
        """The names of the inputs."""
        return tuple(sorted({name for case in self.cases for name in case.inputs}))

    def batch_shape(self, size: int) -> tuple[int, ...]:
        """The fewest batch axes, the first of them of the given size."""
        return max((case.batch_shape(size) for case in self.cases), key=len)

    def where(self, holds: Callable[[MetricCase], bool]) -> "Subject":
        """Only the cases for which something holds; skips the test if there are none."""
        cases = tuple(filter(holds, self.cases))
        if not cases:
            pytest.skip("says nothing about this metric")
        return Subject(cases, self.is_collection)

    def values(self, value: Any) -> Iterator[tuple[MetricCase, Any]]:
        """The cases, each with its part of a value."""
        for case in self.cases:
            yield case, own(value, case.name) if self.is_collection else value

    def states(self, state: Any) -> Iterator[tuple[MetricCase, Any]]:
        """The cases, each with its part of a state."""
        for case in self.cases:
            yield case, state[case.name] if self.is_collection else state

    def assert_same_value(self, one: Any, other: Any) -> None:
        """Assert equality within the tolerance of each metric."""
        pairs = zip(self.values(one), self.values(other), strict=True)
        for (case, one_value), (_, other_value) in pairs:
            assert_same(case, one_value, other_value)


def own(values: dict[str, Any], metric_name: str) -> dict[str, Any]:
    """The part of a collection's values that belongs to one metric, as that metric gives it."""
    names = {name: name.partition("/") for name in values}
    return {inner: values[n] for n, (outer, _, inner) in names.items() if outer == metric_name}


def assert_same_type(before: Any, after: Any) -> None:
    """Assert equal trees, shapes, dtypes, weak types and shardings."""
    chex.assert_trees_all_equal_structs(before, after)
    chex.assert_trees_all_equal_shapes_and_dtypes(before, after)
    for one, other in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        assert one.weak_type == other.weak_type is False
        assert one.sharding.is_equivalent_to(other.sharding, one.ndim)


def assert_same(case: MetricCase, one: Any, other: Any, ordered: bool = True) -> None:
    """Assert equality within the case's tolerance."""
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        a, b = (np.asarray(x) if ordered else np.sort(x) for x in (a, b))
        np.testing.assert_allclose(a, b, rtol=case.rtol, err_msg=case.name)


def accumulators(state: Any) -> list[jsm.AbstractAccumulator]:
    """The accumulators of a state."""
    is_leaf = lambda node: isinstance(node, jsm.AbstractAccumulator)  # noqa: E731
    found = []
    for node in jax.tree.leaves(opened(state), is_leaf=is_leaf):
        is_stacked = isinstance(node, Stacked)
        found += [node[i] for i in range(len(node.to_numpy()))] if is_stacked else [node]
    return found


def _groups(cases: Sequence[MetricCase]) -> dict[str, Subject]:
    """Cases that read the same inputs, in batches with the axes that each takes alone."""
    groups = by_what_they_read([case for case in cases if not case.needs_prompts])
    groups["prompts"] = [case for case in cases if case.needs_prompts]
    return {name: Subject(tuple(group), is_collection=True) for name, group in groups.items()}


# One metric for each kind of state, of losses and of activations.
OF_EACH_STATE = ("FeatureDensity", "ExplainedVariance", "ActivationStatistics", "Capacity")
OF_EACH_STATE += ("DeadFeatures", "ConsistentActivationHeuristic", "ReconstructionScore")
OF_EACH_STATE += ("TopActivatingExamples", "MovingAverage", "Window")

_few = _groups([case for case in ALL_CASES if case.name in OF_EACH_STATE])
_all = {f"all of {name}": subject for name, subject in _groups(ALL_CASES).items()}
_alone = {case.name: Subject((case,), is_collection=False) for case in ALL_CASES}


def _parameters(subjects: dict[str, Subject], *marks: pytest.MarkDecorator) -> list[Any]:
    return [pytest.param(subject, id=name, marks=marks) for name, subject in subjects.items()]


FEW = _parameters(_few)
ALONE = _parameters(_alone, pytest.mark.exhaustive)
ALL = _parameters(_all, pytest.mark.exhaustive)
few_and_each_alone = pytest.mark.parametrize("subject", FEW + ALONE)
few_and_all_together = pytest.mark.parametrize("subject", FEW + ALL)
