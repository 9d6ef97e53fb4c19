"""Metrics of learned activations: edges, exactness, order, other tools' numbers, and errors."""

import json
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_sae_metrics as jsm

DATA = pathlib.Path(__file__).parent / "data"


def run(metric, *batches, **others):
    state = metric.init()
    update = jax.jit(metric.update)
    for batch in batches:
        state = update(state, learned_activations=batch, **others)
    return metric.compute(state)


def count_of(values):
    values = np.asarray(values, np.uint64)
    return jsm.Count(
        high=jnp.asarray(values >> np.uint64(32), jnp.uint32),
        low=jnp.asarray(values & np.uint64(2**32 - 1), jnp.uint32),
    )


def with_leaves(metric, leaves):
    """A state of the metric with these accumulators."""
    is_leaf = lambda node: isinstance(node, jsm.AbstractAccumulator)  # noqa: E731
    treedef = jax.tree.structure(metric.init(), is_leaf=is_leaf)
    return jax.tree.unflatten(treedef, leaves)


# SAELens 6.54 on recorded activations.


def dense_form(activations):
    return activations


def top_k_form(activations):
    values, indices = jax.lax.top_k(activations, activations.shape[-1])
    return jsm.TopKActivations(values, indices, activations.shape[-1])


@pytest.mark.parametrize("form", [dense_form, top_k_form])
@pytest.mark.parametrize("recording", ["saelens_a", "saelens_b"])
def test_reproduces_saelens(recording, form):
    expected = json.loads((DATA / f"{recording}.json").read_text())["feature_metrics"]
    arrays = np.load(DATA / f"{recording}.npz")
    metrics = jsm.MetricCollection(
        {
            "feature_density": jsm.FeatureDensity(96),
            "consistent_activation_heuristic": jsm.ConsistentActivationHeuristic(96),
        }
    )
    state = metrics.init()
    for activations, mask in zip(arrays["learned_activations"], arrays["mask"], strict=True):
        learned = form(jnp.asarray(activations))
        state = metrics.update(state, learned_activations=learned, mask=jnp.asarray(mask))
    for name, value in metrics.compute(state).items():
        np.testing.assert_allclose(value, np.array(expected[name], float), rtol=1e-5, err_msg=name)


# L0Histogram


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 20, 100, 1000])
def test_quantiles_are_those_of_numpy_and_exact_where_the_portion_is(size):
    quantiles = (*(i / 100 for i in range(101)), 1 / 3, 2 / 3)
    l0 = np.random.default_rng(size).integers(0, 60, size)
    activations = (np.arange(60) < l0[:, None]).astype(np.float32)
    value = run(jsm.L0Histogram(60, quantiles=quantiles), activations)
    np.testing.assert_array_equal(value["histogram"], np.bincount(l0, minlength=61))
    # Decimal portions are meant, where float64 has 0.07 * 100 > 7.
    ranks = [max(1, -(-round(q * 1e6) * size // 10**6)) for q in quantiles[:101]]
    np.testing.assert_array_equal(value["quantiles"][:101], np.sort(l0)[np.array(ranks) - 1])
    wanted = np.quantile(l0, quantiles[101:], method="inverted_cdf")
    np.testing.assert_array_equal(value["quantiles"][101:], wanted)


def test_quantiles_of_more_vectors_than_float32_counts():
    metric = jsm.L0Histogram(3, quantiles=(0.25, 0.5, 0.9))
    state = with_leaves(metric, [count_of(2**40), count_of([2**40, 2**41 - 2**20, 2**20])])
    value = metric.compute(state)
    np.testing.assert_array_equal(value["quantiles"], [0, 1, 2])
    np.testing.assert_array_equal(state.num_with_l0.to_numpy(), [2**40, 2**41 - 2**20, 2**20])


def test_the_histogram_counts_what_l0_counts():
    activations = jnp.array([[[-1.0, 0.0], [jnp.nan, 2.0]], [[0.0, 0.0], [0.0, 1.0]]])
    value = run(jsm.L0Histogram(2, num_components=2, quantiles=(0.5, 1.0)), activations)
    np.testing.assert_array_equal(value["histogram"], [[1, 1, 0], [0, 1, 1]])
    np.testing.assert_array_equal(value["quantiles"], [[0, 1], [1, 2]])


# ActivationStatistics


@pytest.mark.parametrize("form", [dense_form, top_k_form])
def test_a_bin_begins_at_its_edge_and_holds_active_activations_alone(form):
    below = np.nextafter(np.float32(0.1), np.float32(0))
    values = [-5.0, 0.0, 1e-9, below, 0.1, 0.99, 1.0, 5.0, np.inf]
    activations = form(jnp.asarray(values, jnp.float32)[:, None])
    edges = (0.1, 1.0)
    value = run(jsm.ActivationStatistics(1, histogram_edges=edges), activations)
    np.testing.assert_array_equal(value["histogram"], [[2, 2, 3]])
    value = run(jsm.ActivationStatistics(1, None, 0.1, edges), activations)
    np.testing.assert_array_equal(value["histogram"], [[0, 1, 3]])
    value = run(jsm.ActivationStatistics(1, histogram_edges=()), activations)
    np.testing.assert_array_equal(value["histogram"], [[7]])


def test_bins_add_up_to_the_firing_count_and_moments_agree():
    rng = np.random.default_rng(0)
    activations = np.maximum(rng.normal(size=(500, 4)), 0).astype(np.float32) * 10.0 ** np.arange(
        -2, 2, dtype=np.float32
    )
    value = run(jsm.ActivationStatistics(4), activations)
    fired = run(jsm.NeuronFiredCount(4), activations)
    density = run(jsm.FeatureDensity(4), activations)
    np.testing.assert_array_equal(value["histogram"].sum(-1), fired)
    when_active = np.array([np.mean(f[f > 0].astype(float) ** 2) for f in activations.T])
    np.testing.assert_allclose(value["second_moment"] / density, when_active, rtol=1e-6)


@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_what_is_nan_is_not_active(threshold):
    activations = jnp.array([[1.0, jnp.nan], [2.0, jnp.nan], [jnp.nan, -1.0]])
    value = run(jsm.ActivationStatistics(2, threshold=threshold), activations)
    np.testing.assert_array_equal(value["mean_when_active"], [1.5, np.nan])
    np.testing.assert_array_equal(value["max"], [2.0, np.nan])


@pytest.mark.parametrize("edges", [(1.0, 1.0), (2.0, 1.0), (0.0, 1.0), (-1.0,), (np.inf,)])
def test_edges_that_are_not_positive_and_increasing_are_refused(edges):
    with pytest.raises(ValueError, match="histogram_edges"):
        jsm.ActivationStatistics(2, histogram_edges=edges)


# ConsistentActivationHeuristic


@pytest.mark.parametrize("shape", [(6, 4), (2, 3, 4, 4)])
def test_prompts_and_tokens_are_the_only_batch_axes(shape):
    metric = jsm.ConsistentActivationHeuristic(4)
    with pytest.raises(ValueError, match=r"\[prompt, token, component\?, feature\].*Reshape"):
        metric.update(metric.init(), learned_activations=jnp.ones(shape))


def test_a_feature_counts_once_a_prompt_however_often_it_is_given():
    indices = jnp.array([[[0, 1], [0, -1], [0, 1]], [[1, 2], [7, 7], [2, 1]]])
    values = jnp.array(
        [[[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]], [[1.0, -1.0], [1.0, 1.0], [2.0, 3.0]]]
    )
    learned = jsm.TopKActivations(values, indices, 4)
    value = run(jsm.ConsistentActivationHeuristic(4), learned)
    np.testing.assert_array_equal(value, [3.0, 1.5, 1.0, np.nan])
    mask = jnp.array([[True, False, True], [False, False, False]])
    value = run(jsm.ConsistentActivationHeuristic(4), learned, mask=mask)
    np.testing.assert_array_equal(value, [2.0, 1.0, np.nan, np.nan])


# FeatureDensityStatistics


def test_a_density_at_a_limit_is_neither_above_nor_below_it():
    num_fired = [0, 1, 99, 100, 101, 10**3, 10**4, 10**7, 10**7 + 10**3, 10**8, 10**9]
    metric = jsm.FeatureDensityStatistics(len(num_fired))
    value = metric.compute(with_leaves(metric, [count_of(num_fired), count_of(10**9)]))
    assert [int(value[f"below_1e-{i}"]) for i in (7, 6, 5)] == [3, 5, 6]
    assert [int(value[f"above_1e-{i}"]) for i in (1, 2)] == [1, 3]
    total = sum(num_fired)
    shares = [value["share_of_firing_above_1e-1"], value["share_of_firing_above_1e-2"]]
    wanted = [10**9 / total, (10**9 + 10**8 + 10**7 + 10**3) / total]
    np.testing.assert_allclose(shares, wanted, rtol=1e-6)
    np.testing.assert_allclose(value["alive_fraction"], 10 / 11, rtol=1e-6)
    # Never, below 1e-8, and half decades from 1e-8 on.
    wanted = np.zeros(18, int)
    for place in [0, 1, 3, 4, 4, 6, 8, 14, 14, 16, 17]:
        wanted[place] += 1
    np.testing.assert_array_equal(value["histogram"], wanted)


def test_firing_that_never_was_has_no_shares():
    value = run(jsm.FeatureDensityStatistics(3), jnp.zeros((4, 3)))
    assert int(value["below_1e-7"]) == int(value["histogram"][0]) == 3
    assert float(value["alive_fraction"]) == 0
    assert np.isnan(value["share_of_firing_above_1e-1"])


# DeadFeatures


@pytest.mark.parametrize("form", [dense_form, top_k_form])
def test_ages_do_not_depend_on_how_the_data_is_cut(form):
    rng = np.random.default_rng(0)
    activations = (rng.random((40, 6)) < [0.5, 0.1, 0.05, 0.02, 1.0, 0.0]).astype(np.float32)
    mask = rng.random(40) < 0.7
    metric = jsm.DeadFeatures(6, thresholds=(1, 5, 20, 40))
    fired = activations[mask] > 0
    ages = np.array([np.argmax([*one[::-1], True]) for one in fired.T])
    wanted = [np.sum(ages >= threshold) for threshold in metric.thresholds]
    for num_parts in (1, 2, 7, 40):
        state = metric.init()
        for part, part_mask in zip(
            np.array_split(activations, num_parts), np.array_split(mask, num_parts), strict=True
        ):
            learned = form(jnp.asarray(part))
            state = metric.update(state, learned_activations=learned, mask=jnp.asarray(part_mask))
        np.testing.assert_array_equal(metric.tokens_since_fired(state), ages)
        np.testing.assert_array_equal(metric.compute(state), wanted)


def test_ten_million_tokens_by_default():
    metric = jsm.DeadFeatures(3)
    observation = metric.observe(learned_activations=jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    state = metric.accumulate(metric.init(), observation)
    nothing = metric.observe(learned_activations=jnp.zeros((10, 3)))
    later = jax.tree.map(lambda leaf: leaf * 999_999, nothing)
    state = metric.accumulate(state, later)
    np.testing.assert_array_equal(metric.compute(state), [0])
    state = metric.accumulate(state, nothing)
    np.testing.assert_array_equal(metric.tokens_since_fired(state), [10**7 + 1, 10**7, 10**7 + 2])
    np.testing.assert_array_equal(metric.compute(state), [3])


@pytest.mark.parametrize("num_components", [None, 2])
def test_resampled_features_get_as_much_time_as_any_other(num_components):
    metric = jsm.DeadFeatures(3, num_components, thresholds=5)
    components = () if num_components is None else (num_components,)
    fires = jnp.zeros((7, *components, 3)).at[3, ..., 1].set(1)
    state = metric.update(metric.init(), learned_activations=fires)
    resampled = jnp.broadcast_to(jnp.array([True, False, False]), (*components, 3))
    state = jax.jit(metric.mark_fired)(state, resampled)
    state = metric.update(state, learned_activations=jnp.zeros((4, *components, 3)))
    np.testing.assert_array_equal(
        metric.tokens_since_fired(state), np.broadcast_to([4, 7, 11], (*components, 3))
    )
    np.testing.assert_array_equal(metric.compute(state), np.full((*components, 1), 2))


@pytest.mark.parametrize("features", [jnp.ones(2, bool), jnp.ones(3, jnp.int32), jnp.array(True)])
def test_what_is_not_a_boolean_for_each_feature_marks_none(features):
    metric = jsm.DeadFeatures(3)
    with pytest.raises(ValueError, match=re.escape("features: expected booleans of shape (3,)")):
        metric.mark_fired(metric.init(), features)


def test_a_single_threshold_need_not_be_in_a_tuple():
    metric = jsm.DeadFeatures(3, thresholds=7)
    assert metric == jsm.DeadFeatures(3, thresholds=(7,)) == jsm.DeadFeatures(3, thresholds=[7])
    assert metric.compute(metric.init()).shape == (1,)


@pytest.mark.parametrize("thresholds", [0, -1, 1.5, True, (1, 2.0), 2**30 + 1, "10"])
def test_thresholds_that_are_not_ages_are_refused(thresholds):
    with pytest.raises(ValueError, match="thresholds"):
        jsm.DeadFeatures(3, thresholds=thresholds)


def test_tokens_since_fired_refuses_the_state_of_another_metric():
    metric = jsm.DeadFeatures(3)
    with pytest.raises(ValueError, match="not a state of"):
        metric.tokens_since_fired(jsm.DeadFeatures(4).init())


# Standard errors, against the spread of resampled data.

BOOTSTRAPPED = {
    "FeatureDensity": (jsm.FeatureDensity(4), lambda f: (f > 0).mean(0)),
    "L0Norm": (jsm.L0Norm(), lambda f: (f != 0).sum(-1).mean()),
    "L1AbsoluteLoss": (jsm.L1AbsoluteLoss(), lambda f: np.abs(f).sum(-1).mean()),
    "ActivationStatistics": (
        jsm.ActivationStatistics(4),
        lambda f: (f * (f > 0)).sum(0) / (f > 0).sum(0),
    ),
}


@pytest.mark.parametrize("name", BOOTSTRAPPED)
def test_standard_errors_are_the_spread_of_resampled_data(name):
    metric, value_of = BOOTSTRAPPED[name]
    rng = np.random.default_rng(0)
    size = 800
    activations = (rng.normal(1, 1, (size, 4)) * (rng.random((size, 4)) < 0.5)).astype(np.float32)
    state = metric.update(metric.init(), learned_activations=activations)
    error = metric.standard_error(state)
    if name == "ActivationStatistics":
        assert error.keys() == {"mean_when_active"}
        error = error["mean_when_active"]
    resampled = [value_of(activations[rng.integers(0, size, size)]) for _ in range(2000)]
    np.testing.assert_allclose(error, np.std(resampled, axis=0), rtol=0.08)


def test_a_mean_of_fewer_than_two_activations_has_no_standard_error():
    metric = jsm.ActivationStatistics(3)
    activations = jnp.array([[1.0, 2.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    state = metric.update(metric.init(), learned_activations=activations)
    np.testing.assert_allclose(
        metric.standard_error(state)["mean_when_active"], [1, np.nan, np.nan]
    )
