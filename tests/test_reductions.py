"""Sums over items: right for every number of items, and without large temporaries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_sae_metrics as jsm

BATCH, FEATURES = 2048, 1024


@pytest.mark.parametrize("num_items", [1, 2, 31, 32, 33, 63, 64, 65, 1023, 1024, 1025, 1057, 33000])
def test_counts_and_sums_of_any_number_of_items(num_items):
    values = np.random.default_rng(0).normal(size=(num_items, 3)).astype(np.float32)
    density, l1 = jsm.NeuronFiredCount(3), jsm.L1AbsoluteLoss()
    for call in (lambda f: f, jax.jit):
        state = call(density.update)(density.init(), learned_activations=values)
        np.testing.assert_array_equal(density.compute(state), (values > 0).sum(0))
        state = call(l1.update)(l1.init(), learned_activations=values)
        wanted = np.abs(values.astype(np.float64)).sum() / num_items
        np.testing.assert_allclose(l1.compute(state), wanted, rtol=1e-6)


LAYOUTS = {
    "vectors": ((BATCH, FEATURES), None),
    "sequences": ((BATCH // 64, 64, FEATURES), None),
    "components": ((BATCH, 4, FEATURES // 4), 4),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_counting_writes_nothing_as_large_as_the_activations(layout, dtype):
    """Left to itself, XLA:CPU writes out the comparison as an int32 for every activation."""
    shape, num_components = LAYOUTS[layout]
    num_features = shape[-1]
    metrics = jsm.MetricCollection(
        {
            "density": jsm.FeatureDensity(num_features, num_components),
            "fired": jsm.NeuronFiredCount(num_features, num_components),
            "dead": jsm.NeuronActivity(num_features, num_components),
        }
    )
    acts = jax.ShapeDtypeStruct(shape, dtype)
    lowered = jax.jit(metrics.update).lower(metrics.init(), learned_activations=acts)
    temporaries = lowered.compile().memory_analysis().temp_size_in_bytes
    assert temporaries <= BATCH * FEATURES / 4
