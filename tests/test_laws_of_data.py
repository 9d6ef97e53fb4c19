"""What holds for every metric however the data comes: cut up, masked, merged, or not at all."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import jax_sae_metrics as jsm
from metric_case import assert_matches, by_name, draw_inputs, expected, split
from subjects import (
    ALONE,
    COMPONENTS,
    FEW,
    accumulators,
    assert_same,
    assert_same_type,
    few_and_all_together,
)

# Of these, one batch says nothing.
RUNNING = {"DeadFeatures", "DeadFeatureFraction", "MovingAverage", "Window"}


@few_and_all_together
def test_forward_gives_the_batch_and_update_the_whole(subject):
    metric = subject.build()
    state = metric.update(metric.init(), **subject.inputs(seed=1))
    second = subject.inputs(seed=2)
    after, batch_value = jax.jit(metric.forward)(state, **second)
    of_batch = metric.compute(metric.update(metric.init(), **second))
    whole = metric.compute(metric.update(state, **second))
    for (case, value), (_, of_one), (_, of_all) in zip(
        *map(subject.values, (batch_value, of_batch, whole)), strict=True
    ):
        assert_same(case, value, of_all if case.name in RUNNING else of_one)
    subject.assert_same_value(metric.compute(after), whole)


@few_and_all_together
def test_merge_is_associative_and_has_the_empty_state_as_neutral(subject):
    metric = subject.build()
    a, b, c = (metric.update(metric.init(), **subject.inputs(seed=seed)) for seed in range(3))
    left = metric.merge(metric.merge(a, b), c)
    right = metric.merge(a, metric.merge(b, c))
    subject.assert_same_value(metric.compute(left), metric.compute(right))
    assert_same_type(left, right)
    for merged in (metric.merge(metric.init(), a), metric.merge(a, metric.init())):
        chex.assert_trees_all_equal(merged, a)


def is_made_of_sums(case):
    state = case.build(COMPONENTS).init()
    return all(isinstance(a, jsm.Count | jsm.Total) for a in accumulators(state))


@few_and_all_together
def test_observations_are_plain_arrays_that_sum_over_micro_batches(subject):
    subject = subject.where(is_made_of_sums)
    metric = subject.build()
    batches = [subject.inputs(seed=seed) for seed in range(4)]
    observations = [metric.observe(**batch) for batch in batches]
    leaves = jax.tree.leaves(observations)
    assert {str(leaf.dtype) for leaf in leaves} <= {"int32", "float32"}
    summed = jax.tree.map(lambda *parts: functools.reduce(jnp.add, parts), *observations)
    together = metric.accumulate(metric.init(), summed)
    one_by_one = functools.reduce(lambda s, b: metric.update(s, **b), batches, metric.init())
    subject.assert_same_value(metric.compute(together), metric.compute(one_by_one))


def assert_any_split_and_mask_give_the_same_as_the_whole(subject, data):
    """Batches of unequal size, down to a single vector, under a mask drawn at random."""
    subject = subject.where(lambda case: not case.of_batches)
    size = data.draw(st.integers(2, 12))
    cuts = sorted(data.draw(st.sets(st.integers(1, size - 1), max_size=3)))
    shape = subject.batch_shape(size)
    bits = st.lists(st.booleans(), min_size=math.prod(shape), max_size=math.prod(shape))
    whole = draw_inputs(subject.names(), shape, COMPONENTS, seed=size)
    whole["mask"] = np.array(data.draw(bits)).reshape(shape)
    constants, (batch,) = split(whole)
    metric = subject.build()
    state = metric.init()
    for part in np.split(np.arange(size), cuts):
        cut = {name: jnp.asarray(values[part]) for name, values in batch.items()}
        state = metric.update(state, **constants, **cut)
    for case, value in subject.values(metric.compute(state)):
        assert_matches(case, value, expected(case, [whole], COMPONENTS))


@pytest.mark.parametrize("subject", FEW)
@settings(max_examples=3, deadline=None)
@given(data=st.data())
def test_a_few_splits_and_masks_give_the_same_as_the_whole(subject, data):
    assert_any_split_and_mask_give_the_same_as_the_whole(subject, data)


@pytest.mark.parametrize("subject", ALONE)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_any_split_and_mask_give_the_same_as_the_whole(subject, data):
    assert_any_split_and_mask_give_the_same_as_the_whole(subject, data)


@few_and_all_together
def test_nothing_seen_is_nan_for_ratios_and_zero_for_counts(subject):
    metric = subject.build()
    for case, value in subject.values(metric.compute(metric.init())):
        for name, of_nothing in by_name(value).items():
            wanted = np.full(of_nothing.shape, case.value_of_nothing(name))
            np.testing.assert_array_equal(of_nothing, wanted, err_msg=case.name)


@few_and_all_together
def test_an_empty_batch_adds_nothing(subject):
    metric = subject.build()
    constants, (batch,) = split(subject.inputs())
    nothing = constants | {name: values[:0] for name, values in batch.items()}
    state = jax.jit(lambda state: metric.update(state, **nothing))(metric.init())
    subject.assert_same_value(metric.compute(state), metric.compute(metric.init()))
