"""What holds for every metric under `jax.jit`: its state keeps its type, and it is no argument."""

import functools
import pickle

import chex
import jax
import pytest

from metric_cases import ALL_CASES
from subjects import COMPONENTS, assert_same_type, few_and_all_together, few_and_each_alone


@few_and_each_alone
def test_update_keeps_the_type_of_the_state(subject):
    metric = subject.build()
    for update in (metric.update, jax.jit(metric.update)):
        assert_same_type(metric.init(), update(metric.init(), **subject.inputs()))


@few_and_all_together
def test_traces_once_over_a_hundred_steps(subject):
    metric = subject.build()

    @functools.partial(jax.jit, donate_argnums=1, static_argnums=0)
    @chex.assert_max_traces(n=1)
    def step(metric, state, inputs):
        return metric.update(state, **inputs)

    chex.clear_trace_counter()
    state, inputs = metric.init(), subject.inputs()
    for _ in range(100):
        # An equal configuration built anew is no reason to trace again.
        state = step(subject.build(), state, inputs)


@few_and_all_together
def test_a_configuration_is_a_leafless_jit_argument(subject):
    metric = subject.build()
    assert jax.tree.leaves(metric) == []

    @jax.jit
    @chex.assert_max_traces(n=1)
    def step(metric, state, inputs):
        return metric.update(state, **inputs)

    chex.clear_trace_counter()
    state = metric.init()
    for _ in range(3):
        state = step(subject.build(), state, subject.inputs())


@pytest.mark.parametrize("case", ALL_CASES, ids=lambda case: case.name)
def test_a_configuration_hashes_compares_pickles_and_prints(case):
    metric, same, other = case.build(COMPONENTS), case.build(COMPONENTS), case.build(2)
    assert metric == same
    assert hash(metric) == hash(same)
    assert metric != other
    assert pickle.loads(pickle.dumps(metric)) == metric
    assert type(metric).__name__ in repr(metric)
    assert {metric: "found"}[same] == "found"


@few_and_all_together
def test_bound_methods_are_jitted_directly(subject):
    metric = subject.build()
    state = jax.jit(metric.update)(jax.jit(metric.init)(), **subject.inputs())
    value = jax.jit(metric.compute)(state)
    subject.assert_same_value(value, metric.compute(state))


@few_and_all_together
def test_donation_works_from_the_first_step(subject):
    metric = subject.build()
    state = metric.init()
    pointers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(state)]
    assert len(set(pointers)) == len(pointers)
    step = jax.jit(metric.update, donate_argnums=0)
    after = step(state, **subject.inputs())
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    step(after, **subject.inputs())
    metric.compute(metric.init())  # an empty state is new each time, not one that was donated
