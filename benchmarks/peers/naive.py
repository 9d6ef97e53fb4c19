"""The metrics as people write them by hand in JAX, each number a line."""

import jax.numpy as jnp
from jaxtyping import Array

State = dict[str, Array]


def init(num_learned_features: int, num_components: int | None = None) -> State:
    """Counts in int32, sums in float32."""
    components = () if num_components is None else (num_components,)
    return {
        "fired": jnp.zeros((*components, num_learned_features), jnp.int32),
        "num_vectors": jnp.zeros((), jnp.int32),
        "l0": jnp.zeros(components, jnp.float32),
        "l1": jnp.zeros(components, jnp.float32),
        "l2": jnp.zeros(components, jnp.float32),
    }


def observe(
    *, learned_activations: Array, source_activations: Array, decoded_activations: Array
) -> State:
    """What one batch adds. The total loss follows from L1 and L2, dead features from the counts."""
    return {
        "fired": (learned_activations > 0).sum(0),
        "num_vectors": jnp.int32(learned_activations.shape[0]),
        "l0": (learned_activations != 0).sum(-1).sum(0).astype(jnp.float32),
        "l1": jnp.abs(learned_activations).sum(-1, dtype=jnp.float32).sum(0),
        "l2": jnp.square(decoded_activations - source_activations)
        .mean(-1, dtype=jnp.float32)
        .sum(0),
    }


def accumulate(state: State, observation: State) -> State:
    """Add them up."""
    return {name: state[name] + observation[name] for name in state}


def update(state: State, **batch: Array) -> State:
    """One more batch."""
    return accumulate(state, observe(**batch))


def count_fired(state: Array, *, learned_activations: Array) -> Array:
    """The counts that density, fired count and dead features all need."""
    return state + (learned_activations > 0).sum(0)


def count_nonzero(state: Array, *, learned_activations: Array) -> Array:
    """L0."""
    return state + (learned_activations != 0).sum(-1).sum(0)


def sum_absolute(state: Array, *, learned_activations: Array) -> Array:
    """L1."""
    return state + jnp.abs(learned_activations).sum(-1, dtype=jnp.float32).sum(0)
