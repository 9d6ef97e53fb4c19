"""`HoyerSparsity` and `NormalizedL1`: worked values, and what does not depend on the scale."""

import jax.numpy as jnp
import numpy as np
import pytest

import jax_sae_metrics as jsm

SOURCE = np.float32([3, 4])  # of norm 5
# The vector, its Hoyer sparsity, and its sum of absolute values over the norm of the source.
WORKED = {
    "one feature": ([0, -2, 0, 0], 1, 2 / 5),
    "all features alike": ([1, 1, -1, 1], 0, 4 / 5),
    "two of four": ([0, 3, 3, 0], 2 - np.sqrt(2), 6 / 5),
}


@pytest.mark.parametrize("scale", [1e-12, 1, 1e12])
@pytest.mark.parametrize("name", WORKED)
def test_worked_vectors_of_any_scale(name, scale):
    vector, hoyer, normalized = WORKED[name]
    inputs = {
        "learned_activations": jnp.float32(scale) * jnp.array([vector], jnp.float32),
        "source_activations": jnp.float32(scale) * SOURCE[None],
    }
    metrics = jsm.MetricCollection({"hoyer": jsm.HoyerSparsity(), "l1": jsm.NormalizedL1()})
    values = metrics.compute(metrics.update(metrics.init(), **inputs))
    np.testing.assert_allclose(values["hoyer"], hoyer, atol=1e-6)
    np.testing.assert_allclose(values["l1"], normalized, rtol=1e-6)


def test_vectors_without_a_value_are_skipped_and_counted():
    codes, source = jnp.eye(3, 4).at[1].set(0), jnp.ones((3, 2)).at[2].set(0)
    hoyer, l1 = jsm.HoyerSparsity(), jsm.NormalizedL1()
    state = hoyer.update(hoyer.init(), learned_activations=codes)
    assert (hoyer.compute(state), hoyer.num_skipped(state)) == (1, 1)
    state = l1.update(l1.init(), learned_activations=codes, source_activations=source)
    # The second vector has no activations, but a source: its value is 0.
    np.testing.assert_allclose(l1.compute(state), np.sqrt(1 / 2) / 2, rtol=1e-6)
    assert l1.num_skipped(state) == 1


def test_a_single_feature_has_no_hoyer_sparsity():
    metric = jsm.HoyerSparsity()
    state = metric.update(metric.init(), learned_activations=jnp.ones((3, 1)))
    assert np.isnan(metric.compute(state))
    assert metric.num_skipped(state) == 3
