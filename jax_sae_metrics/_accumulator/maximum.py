"""The largest value seen."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float32

from .accumulator import AbstractAccumulator, AxisName
from .check import checked_observation
from .scattered import Scattered, scatter_max


class Maximum(AbstractAccumulator):
    """The largest value seen; minus infinity if there was none.

    An observation is one float32 array of the same shape, minus infinity where nothing was seen.
    Observations combine by `jnp.maximum`, not by addition. They are to be free of NaN, which some
    devices pass on and others leave out when they reduce together.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> print(jsm.Maximum.empty((2,)).add(jnp.array([1.0, -jnp.inf])).value)
        [  1. -inf]
    """

    value: Float32[Array, "*shape"]

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> "Maximum":
        """Of nothing."""
        return cls(value=jnp.full(shape, -jnp.inf, jnp.float32))

    def add(self, observation: Any, axis_name: AxisName | None = None) -> "Maximum":
        """The larger of both, over all devices of `axis_name` where it is given."""
        if isinstance(observation, Scattered):
            if observation.is_few(axis_name):
                few = observation.gathered(axis_name)
                return Maximum(value=scatter_max(self.value, few.indices, few.values))
            observation = observation.dense()
        observation = checked_observation(observation, "Maximum", self.value.shape, jnp.float32)
        if axis_name is not None:
            observation = lax.pmax(observation, axis_name)
        return Maximum(value=jnp.maximum(self.value, observation))

    def merge(self, later: "Maximum") -> "Maximum":
        """The larger of both."""
        return Maximum(value=jnp.maximum(self.value, later.value))

    def all_reduce(self, axis_name: AxisName) -> "Maximum":
        """The largest of all devices."""
        return Maximum(value=lax.pmax(self.value, axis_name))

    def to_float(self) -> Float32[Array, "*shape"]:
        """The value; NaN if there was none."""
        return jnp.where(self.value == -jnp.inf, jnp.float32(jnp.nan), self.value)

    def to_numpy(self) -> np.ndarray:
        """The value as NumPy float32, on the host."""
        return np.asarray(self.to_float())
