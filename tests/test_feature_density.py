"""How often features fire: exactness, limits, prompts, and other tools' numbers."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_sae_metrics as jsm
from learned_activations import count_of, dense_form, flat_form, run, top_k_form, with_leaves

DATA = pathlib.Path(__file__).parent / "data"


@pytest.mark.parametrize("form", [dense_form, top_k_form, flat_form])
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


def test_a_feature_that_always_fires_has_density_one():
    """XLA would divide by multiplying with a reciprocal: 41 / 41 = 0.99999994."""
    metric = jsm.FeatureDensity(8)
    one = metric.observe(learned_activations=jnp.ones((1, 8)))
    compute = jax.jit(metric.compute)
    for n in range(1, 200):
        seen = jax.tree.map(lambda leaf, n=n: leaf * n, one)
        state = metric.accumulate(metric.init(), seen)
        np.testing.assert_array_equal(compute(state), np.ones(8))
        np.testing.assert_array_equal(metric.compute(state), np.ones(8))


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
