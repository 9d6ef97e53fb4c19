"""Passes of a model, unchanged and with the activations at some hook points replaced."""

import collections
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .component import Component, HookPoint

# Gets the activations at a hook point; returns what the model goes on with.
Intervene = Callable[[Array, HookPoint], Array]
Model = Callable[[Array, Intervene], Array]


def recorded(
    model: Model, tokens: Int[Array, "batch sequence"]
) -> tuple[Float[Array, "batch sequence vocabulary"], dict[HookPoint, Array]]:
    """The logits of the unchanged model, and the activations at each hook point, in its order."""
    # `jit` would sort the hook points of a plain dictionary.
    seen: dict[HookPoint, Array] = collections.OrderedDict()

    def record(activations: Array, hook_point: HookPoint) -> Array:
        if hook_point in seen:
            raise ValueError(
                f"model: it called intervene twice for hook point {hook_point!r}. Give each hook "
                "point a number or a name of its own."
            )
        if activations.shape[:-1] != tokens.shape:
            raise ValueError(
                f"model: expected activations [batch, sequence, input_feature] at hook point "
                f"{hook_point!r}, for tokens {tokens.shape}, got shape {activations.shape}. In a "
                "model of one text, apply jax.vmap to its layers, and call intervene outside of it."
            )
        seen[hook_point] = activations
        return activations

    logits = model(tokens, record)
    if logits.ndim != 3 or logits.shape[:2] != tokens.shape:
        raise ValueError(
            f"model: expected logits [batch, sequence, vocabulary] for tokens {tokens.shape}, got "
            f"shape {logits.shape}."
        )
    return logits, seen


def coded(
    name: str, component: Component, activations: Mapping[HookPoint, Array]
) -> tuple[Any, Array]:
    """The codes of a component and what it decodes them to."""
    source = activations[component.reads]
    try:
        returned = component.autoencode(source)
    except Exception as error:
        error.add_note(
            f"In the autoencoder {name!r}, which was given activations [batch, sequence, "
            f"input_feature] of shape {source.shape}."
        )
        raise
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        raise TypeError(
            f"autoencoders: expected (codes, decoded) of {name!r}, got {type(returned).__name__}. "
            "Metrics of sparsity need the codes."
        )
    codes, decoded = returned
    target = activations[component.writes]
    if decoded.shape != target.shape:
        raise ValueError(
            f"autoencoders: expected decoded activations of {name!r} of shape {target.shape}, as "
            f"at hook point {component.writes!r}, got {decoded.shape}."
        )
    return codes, decoded


def replaced(
    model: Model, tokens: Int[Array, "batch sequence"], hook_point: HookPoint, replacement: Array
) -> Float[Array, "batch sequence vocabulary"]:
    """The logits of the model with other activations at one hook point."""

    def replace(activations: Array, at: HookPoint) -> Array:
        return replacement.astype(activations.dtype) if at == hook_point else activations

    return model(tokens, replace)


def replaced_together(
    model: Model,
    tokens: Int[Array, "batch sequence"],
    components: Mapping[str, Component],
    instead: Callable[[str, Component, Mapping[HookPoint, Array]], Array],
) -> Float[Array, "batch sequence vocabulary"]:
    """The logits of the model with all components in place. Each reads what those before it left.

    `instead` gets a component, its name, and the activations so far, its own hook point included.
    """
    at = {component.writes: (name, component) for name, component in components.items()}
    seen: dict[HookPoint, Array] = {}

    def replace(activations: Array, hook_point: HookPoint) -> Array:
        seen[hook_point] = activations
        if hook_point in at:
            replacement = instead(*at[hook_point], seen)
            seen[hook_point] = replacement.astype(activations.dtype)
        return seen[hook_point]

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
