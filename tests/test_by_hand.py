"""The benchmarks' code by hand finds what the library finds: their times are of the same work."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_sae_metrics as jsm
from benchmarks.inputs import training_batch
from benchmarks.peers import careful


@pytest.mark.exhaustive
def test_evaluation() -> None:
    num_vectors, num_learned, num_input = 40, 96, 24
    batch = training_batch((num_vectors, num_learned), "float32", num_input)
    for name in ("source_activations", "decoded_activations"):
        batch[name] = batch[name].at[3].set(0)  # without a direction
    metrics = jsm.evaluation_metrics(num_learned, num_input)
    state = metrics.update(metrics.init(), **batch)
    values, errors = metrics.compute(state), metrics.standard_error(state)

    zeros = careful.zeros(careful.evaluation, num_learned, num_input)
    found = jax.jit(careful.evaluation)(zeros, **batch)

    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, zeros)
    sums, squares = np.split(np.asarray(found["means"]), 2)
    skipped = np.append(found["skipped"], [0, 0, 0])
    means = sums / (num_vectors - skipped)
    spreads = np.sqrt((squares / (num_vectors - skipped) - means**2) / (num_vectors - skipped - 1))
    names = ["normalized_mse", "cossim", "l2_ratio"]
    with_norms = names + [f"l2_norm/{part}" for part in ("source", "decoded", "error")]
    np.testing.assert_allclose(means, [values[name] for name in with_norms], rtol=1e-5)
    np.testing.assert_allclose(spreads, [errors[name] for name in with_norms], rtol=1e-3)
    decoded_norms, products, *_ = found["bias"]
    np.testing.assert_allclose(
        decoded_norms / products, values["relative_reconstruction_bias"], rtol=1e-5
    )
    np.testing.assert_allclose(found["both"][0] / num_vectors, values["mse"], rtol=1e-5)
    np.testing.assert_allclose(found["l0"][0] / num_vectors, values["l0"])
    assert list(skipped[:3]) == [metrics.metrics[name].num_skipped(state[name]) for name in names]
