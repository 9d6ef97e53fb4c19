"""Passes of a model, unchanged and with the activations at some components replaced."""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

# Gets the activations at a component; returns what the model goes on with.
Intervene = Callable[[Array, int], Array]
Model = Callable[[Array, Intervene], Array]


def recorded(
    model: Model, tokens: Int[Array, "batch sequence"], num_components: int
) -> tuple[Float[Array, "batch sequence vocabulary"], list[Float[Array, "batch sequence feature"]]]:
    """The logits of the unchanged model, and the activations at each component."""
    seen: dict[int, Array] = {}

    def record(activations: Array, component: int) -> Array:
        if component in seen:
            raise ValueError(
                f"model: it called intervene twice for component {component}. Call it once at each "
                "hook point."
            )
        seen[component] = activations
        return activations

    logits = model(tokens, record)
    if seen.keys() != set(range(num_components)):
        raise ValueError(
            f"model: it called intervene for components {sorted(seen)}, and there are autoencoders "
            f"for {list(range(num_components))}. Number the hook points from 0, in the order of "
            "the autoencoders."
        )
    if logits.ndim != 3 or logits.shape[:2] != tokens.shape:
        raise ValueError(
            f"model: expected logits [batch, sequence, vocabulary] for tokens {tokens.shape}, got "
            f"shape {logits.shape}."
        )
    return logits, [seen[component] for component in range(num_components)]


def replaced(
    model: Model,
    tokens: Int[Array, "batch sequence"],
    replacements: Mapping[int, Callable[[Array], Array]],
) -> Float[Array, "batch sequence vocabulary"]:
    """The logits of the model with functions of the activations in their place at components."""

    def replace(activations: Array, component: int) -> Array:
        if component not in replacements:
            return activations
        return replacements[component](activations).astype(activations.dtype)

    return model(tokens, replace)


def next_token_losses(
    logits: Float[Array, "batch sequence vocabulary"], tokens: Int[Array, "batch sequence"]
) -> Float[Array, "batch sequence_minus_1"]:
    """The cross-entropy of the prediction of each token but the first, in nats."""
    logits = logits[:, :-1].astype(jnp.float32)
    of_target = jnp.take_along_axis(logits, tokens[:, 1:, None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - of_target


def masked_mean(
    activations: Sequence[Float[Array, "batch sequence feature"]], mask: Array
) -> list[Float[Array, "batch sequence feature"]]:
    """The mean over unmasked tokens of the batch, in the place of every token."""
    weights = mask[..., None].astype(jnp.float32)
    num_tokens = jnp.maximum(jnp.sum(weights), 1)

    def mean(values: Array) -> Array:
        total = jnp.sum(jnp.where(mask[..., None], values.astype(jnp.float32), 0), (0, 1))
        return jnp.broadcast_to(total / num_tokens, values.shape)

    return [mean(values) for values in activations]
