"""Batches to measure on."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

import jax_sae_metrics as jsm

NUM_INPUT_FEATURES = 512


def relu_codes(shape: tuple[int, ...], dtype: DTypeLike) -> Float[Array, "..."]:
    """Learned activations: about one in six is active."""
    normal = jax.random.normal(jax.random.key(0), shape)
    return jax.block_until_ready(jax.nn.relu(normal - 1).astype(dtype))


def training_batch(
    shape: tuple[int, ...], dtype: DTypeLike, num_input_features: int = NUM_INPUT_FEATURES
) -> dict[str, Array]:
    """The inputs of the training collection by name; `shape` is for the learned activations."""
    keys = jax.random.split(jax.random.key(1))
    source, noise = (
        jax.random.normal(key, (*shape[:-1], num_input_features)).astype(dtype) for key in keys
    )
    return jax.block_until_ready(
        {
            "learned_activations": relu_codes(shape, dtype),
            "source_activations": source,
            "decoded_activations": source + noise / 2,
        }
    )


def top_k_batch(
    batch_size: int, k: int, num_learned_features: int, seed: int
) -> jsm.TopKActivations:
    """Random features, different within a vector: each of the k is drawn from its own range."""
    random = np.random.default_rng(seed)
    width = num_learned_features // k
    indices = random.integers(0, width, (batch_size, k)) + width * np.arange(k)
    return jsm.TopKActivations(
        values=jnp.asarray(random.uniform(0.5, 1.5, (batch_size, k)), jnp.float32),
        indices=jnp.asarray(random.permuted(indices, axis=1), jnp.int32),
        num_learned_features=num_learned_features,
    )


def in_words(shape: tuple[int, ...]) -> str:
    """A shape as people write it."""
    return " x ".join(map(str, shape))
