"""The largest value seen."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float32

from .._arrays import AxisName, on_host
from .accumulator import AbstractAccumulator
from .added import AbstractRecord, check_array, check_record
from .at_indices import scatter_max
from .scattered import Scattered, dense


class MaximumRecord(AbstractRecord):
    """What one batch adds to `Maximum`: its largest values, minus infinity where it has none."""

    value: Float32[Array, "*shape"] | Scattered

    def combine(self, later: "MaximumRecord") -> "MaximumRecord":
        """The larger of both."""
        return MaximumRecord(jnp.maximum(dense(self.value), dense(later.value)))


class Maximum(AbstractAccumulator):
    """The largest value seen; minus infinity if there was none.

    A batch adds a `MaximumRecord`. It must hold no NaN: when devices reduce together, some kinds of
    device pass a NaN on and others leave it out.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> record = jsm.MaximumRecord(jnp.array([1.0, -jnp.inf]))
        >>> print(jsm.Maximum.empty((2,)).add(record).value)
        [  1. -inf]
    """

    value: Float32[Array, "*shape"]

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> "Maximum":
        """No value seen."""
        return cls(value=jnp.full(shape, -jnp.inf, jnp.float32))

    def _check(self, added: Any) -> None:
        check_record(added, "Maximum", MaximumRecord)
        check_array(added.value, "Maximum", self.value.shape, jnp.float32)

    def _add(self, added: Any, axis_name: AxisName | None) -> "Maximum":
        value = added.value if axis_name is None else lax.pmax(added.value, axis_name)
        return Maximum(value=jnp.maximum(self.value, value))

    def _add_few(self, added: Any, axis_name: AxisName | None) -> "Maximum":
        few = added.value.gathered(axis_name)
        return Maximum(value=scatter_max(self.value, few.at, few.values))

    def _merge(self, later: "Maximum") -> "Maximum":
        return Maximum(value=jnp.maximum(self.value, later.value))

    def all_reduce(self, axis_name: AxisName) -> "Maximum":
        """The largest of all devices."""
        return Maximum(value=lax.pmax(self.value, axis_name))

    def to_float(self) -> Float32[Array, "*shape"]:
        """The value; NaN if there was none."""
        return jnp.where(self.value == -jnp.inf, jnp.float32(jnp.nan), self.value)

    def to_numpy(self) -> np.ndarray:
        """The value as NumPy float32, on the host."""
        return on_host(self.to_float())
