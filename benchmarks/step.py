"""A train step of a sparse autoencoder that takes metrics along."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PyTree

from .ours import L1_COEFFICIENT


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The sizes of a sparse autoencoder and its batch."""

    batch: int
    input: int
    learned: int


@dataclasses.dataclass(frozen=True)
class TrainStep:
    """Adam on a ReLU autoencoder; metrics are observed in the loss function, in one `dtype`.

    Parameters and moments are float32, as is usual. `observe` and `accumulate` come from some
    metrics; without metrics they return nothing.
    """

    sizes: Sizes
    observe: Callable[..., PyTree]
    accumulate: Callable[[PyTree, PyTree], PyTree]
    dtype: DTypeLike = jnp.float32

    def init(self, metric_state: PyTree) -> PyTree:
        """Parameters, optimizer state and metric state."""
        keys = jax.random.split(jax.random.key(3))
        num_input, num_learned = self.sizes.input, self.sizes.learned
        params = {
            "encoder": jax.random.normal(keys[0], (num_input, num_learned)) / num_input**0.5,
            "bias": jnp.zeros(num_learned),
            "decoder": jax.random.normal(keys[1], (num_learned, num_input)) / num_learned**0.5,
        }
        return params, self._optimizer().init(params), metric_state

    def __call__(self, state: PyTree, *, source: Float[Array, "batch input"]) -> PyTree:
        """One step."""
        import optax

        params, optimizer_state, metric_state = state
        gradients, observation = jax.grad(self._loss, has_aux=True)(params, source)
        updates, optimizer_state = self._optimizer().update(gradients, optimizer_state, params)
        metric_state = self.accumulate(metric_state, observation)
        return optax.apply_updates(params, updates), optimizer_state, metric_state

    def _loss(self, params: PyTree, source: Array) -> tuple[Array, PyTree]:
        encoder, bias, decoder = (
            params[name].astype(self.dtype) for name in ("encoder", "bias", "decoder")
        )
        learned = jax.nn.relu(source @ encoder + bias)
        activations = {
            "source_activations": source,
            "learned_activations": learned,
            "decoded_activations": learned @ decoder,
        }
        error = activations["decoded_activations"].astype(jnp.float32) - source
        l1 = jnp.abs(learned.astype(jnp.float32)).sum(-1).mean()
        return jnp.square(error).mean() + L1_COEFFICIENT * l1, self.observe(**activations)

    def _optimizer(self) -> Any:
        import optax

        return optax.adam(1e-4)


def observe_nothing(**_: Array) -> None:
    """Stands in for `observe` in a step without metrics."""


def accumulate_nothing(metric_state: PyTree, _: None) -> PyTree:
    """Stands in for `accumulate` in a step without metrics."""
    return metric_state
