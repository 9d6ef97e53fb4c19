"""Which features have not fired for long, however the data is cut."""

import dataclasses
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_sae_metrics as jsm
from learned_activations import dense_form, flat_form, top_k_form


@pytest.mark.parametrize("form", [dense_form, top_k_form, flat_form])
def test_ages_do_not_depend_on_how_the_data_is_cut(form):
    rng = np.random.default_rng(0)
    activations = (rng.random((40, 6)) < [0.5, 0.1, 0.05, 0.02, 1.0, 0.0]).astype(np.float32)
    mask = rng.random(40) < 0.7
    metric = jsm.DeadFeatures(6, after_tokens=(1, 5, 20, 40))
    update = jax.jit(metric.update)
    fired = activations[mask] > 0
    ages = np.array([np.argmax([*one[::-1], True]) for one in fired.T])
    wanted = [np.sum(ages >= tokens) for tokens in metric.after_tokens]
    for num_parts in (1, 2, 7, 40):
        state = metric.init()
        for part, part_mask in zip(
            np.array_split(activations, num_parts), np.array_split(mask, num_parts), strict=True
        ):
            learned = form(jnp.asarray(part))
            state = update(state, learned_activations=learned, mask=jnp.asarray(part_mask))
        np.testing.assert_array_equal(metric.tokens_since_fired(state), ages)
        np.testing.assert_array_equal(metric.compute(state), wanted)


def test_ten_million_tokens_by_default():
    metric = jsm.DeadFeatures(3)
    observation = metric.observe(learned_activations=jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    state = metric.accumulate(metric.init(), observation)
    nothing = metric.observe(learned_activations=jnp.zeros((10, 3)))
    later = eqx.tree_at(lambda o: o.last_fired.num_items, nothing, jnp.int32(9_999_990))
    state = metric.accumulate(state, later)
    assert metric.compute(state) == 0
    state = metric.accumulate(state, nothing)
    np.testing.assert_array_equal(metric.tokens_since_fired(state), [10**7 + 1, 10**7, 10**7 + 2])
    assert metric.compute(state) == 3


@pytest.mark.parametrize("num_components", [None, 2])
def test_resampled_features_get_as_much_time_as_any_other(num_components):
    metric = jsm.DeadFeatures(3, num_components, after_tokens=5)
    components = () if num_components is None else (num_components,)
    fires = jnp.zeros((7, *components, 3)).at[3, ..., 1].set(1)
    state = metric.update(metric.init(), learned_activations=fires)
    resampled = jnp.broadcast_to(jnp.array([True, False, False]), (*components, 3))
    state = jax.jit(metric.mark_fired)(state, resampled)
    state = metric.update(state, learned_activations=jnp.zeros((4, *components, 3)))
    np.testing.assert_array_equal(
        metric.tokens_since_fired(state), np.broadcast_to([4, 7, 11], (*components, 3))
    )
    np.testing.assert_array_equal(metric.compute(state), np.full(components, 2))


@pytest.mark.parametrize(
    ("features", "error", "says"),
    [
        (jnp.ones(2, bool), ValueError, "features: expected shape (3,)"),
        (jnp.array(True), ValueError, "features: expected shape (3,)"),
        (jnp.ones(3, jnp.int32), TypeError, "features: expected dtype bool (True marks a feature)"),
    ],
)
def test_what_is_not_a_boolean_for_each_feature_marks_none(features, error, says):
    metric = jsm.DeadFeatures(3)
    with pytest.raises(error, match=re.escape(says)):
        metric.mark_fired(metric.init(), features)


def test_one_number_of_tokens_has_no_axis_and_several_have_one():
    one, of_one, several = (jsm.DeadFeatures(3, after_tokens=n) for n in (7, (7,), [7, 8]))
    shapes = [metric.compute(metric.init()).shape for metric in (one, of_one, several)]
    assert shapes == [(), (1,), (2,)]
    assert jsm.DeadFeatures(3, after_tokens=[7]) == of_one


@pytest.mark.parametrize("after_tokens", [0, -1, 1.5, True, (1, 2.0), 2**30 + 1, "10"])
def test_numbers_of_tokens_that_are_not_ages_are_refused(after_tokens):
    with pytest.raises(ValueError, match="after_tokens"):
        jsm.DeadFeatures(3, after_tokens=after_tokens)


def test_tokens_since_fired_refuses_the_state_of_another_metric():
    metric = jsm.DeadFeatures(3)
    with pytest.raises(ValueError, match="not a state of"):
        metric.tokens_since_fired(jsm.DeadFeatures(4).init())


@pytest.mark.parametrize("form", [dense_form, top_k_form, flat_form])
@pytest.mark.parametrize("num_components", [None, 2])
def test_which_features_are_dead_and_what_portion_of_them(form, num_components):
    components = () if num_components is None else (num_components,)
    metrics = [
        metric(4, num_components, after_tokens=3)
        for metric in (jsm.DeadFeatures, jsm.DeadFeatureFraction)
    ]
    # Ages 0 (negative, so only by its absolute value), 2, 3 and 5, in five tokens.
    fires = jnp.zeros((5, *components, 4)).at[4, ..., 0].set(-1).at[2, ..., 1].set(1)
    fires = fires.at[1, ..., 2].set(1)
    for absolute, wanted in (
        (False, [True, False, True, True]),
        (True, [False, False, True, True]),
    ):
        values = []
        for metric in metrics:
            metric = dataclasses.replace(metric, absolute=absolute)
            state = metric.update(metric.init(), learned_activations=form(fires))
            wanted = np.broadcast_to(wanted, (*components, 4))
            np.testing.assert_array_equal(metric.is_dead(state), wanted)
            np.testing.assert_array_equal(
                metric.is_dead(state, after_tokens=5), wanted & (np.arange(4) % 3 == 0)
            )
            values.append(metric.compute(state))
        np.testing.assert_array_equal(values[0], wanted.sum(-1))
        np.testing.assert_array_equal(values[1], wanted.mean(-1, dtype=np.float32))


def test_of_several_numbers_of_tokens_one_is_named():
    metric = jsm.DeadFeatures(3, after_tokens=(5, 7))
    with pytest.raises(ValueError, match=re.escape("is_dead(state, after_tokens=5)")):
        metric.is_dead(metric.init())
    with pytest.raises(ValueError, match="after_tokens: expected a positive Python int"):
        metric.is_dead(metric.init(), after_tokens=0)
