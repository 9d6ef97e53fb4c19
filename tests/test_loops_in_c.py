"""The benchmarks' loops in C find what the library finds: their times are of the same work."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_sae_metrics as jsm
from benchmarks import optional
from benchmarks.peers import careful, with_c


@pytest.mark.exhaustive
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("num_vectors", "num_learned", "num_input"), [(64, 256, 32), (516, 4128, 96)]
)
def test_equals_library(dtype: str, num_vectors: int, num_learned: int, num_input: int) -> None:
    if with_c.library(dtype) is None:
        pytest.skip(optional.skipped[-1])
    keys = jax.random.split(jax.random.key(0), 3)
    # Signed codes: not everything that is active fires. Many features never do.
    threshold = jnp.linspace(-1, 6, num_learned)[None]
    learned = jax.random.normal(keys[0], (num_vectors, num_learned))
    learned = jnp.where(jnp.abs(learned) > threshold, learned, 0)
    source = jax.random.normal(keys[1], (num_vectors, num_input)) + 1
    batch = {
        "learned_activations": learned.astype(dtype),
        "source_activations": source.astype(dtype),
        "decoded_activations": (source + jax.random.normal(keys[2], source.shape) / 2).astype(
            dtype
        ),
    }
    metrics = jsm.training_metrics(num_learned, num_input, dead_after_tokens=num_vectors // 2)
    state = metrics.update(metrics.init(), **batch)
    values, errors = metrics.compute(state), metrics.standard_error(state)

    sums = with_c.training(batch)

    by_hand = careful.training(careful.zeros(careful.training, num_learned, num_input), **batch)
    assert sums.keys() == by_hand.keys()
    for name, expected in by_hand.items():
        np.testing.assert_allclose(sums[name], expected, rtol=1e-5, atol=1e-3, err_msg=name)
    np.testing.assert_array_equal(sums["fired"], by_hand["fired"])
    density = sums["fired"] / num_vectors
    np.testing.assert_allclose(density, values["feature_density"], rtol=1e-6)
    assert np.sum(num_vectors - sums["last_fired"] >= num_vectors // 2) == values["dead_features"]
    for name in ("l0", "l1"):
        mean, square = sums[name] / num_vectors
        np.testing.assert_allclose(mean, values[name], rtol=1e-5)
        error = np.sqrt((square - mean**2) / (num_vectors - 1))
        np.testing.assert_allclose(error, errors[name], rtol=1e-3)
    (squared_errors, *_), (total, squares) = sums["both"], sums["source"]
    np.testing.assert_allclose(squared_errors / num_vectors, values["mse"], rtol=1e-5)
    variance = np.sum(squares - total**2 / num_vectors)
    np.testing.assert_allclose(
        1 - squared_errors / variance, values["explained_variance"], rtol=1e-4
    )
