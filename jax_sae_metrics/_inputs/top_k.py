"""Learned activations given by the few features that are active in each vector."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer

from .._arrays import is_array, not_an_array
from .._configuration import check_size


def _in_int32(indices: Any) -> Any:
    """NumPy's 64-bit indices, with -1 for those that JAX without x64 would cut to other numbers."""
    if not isinstance(indices, np.ndarray) or indices.dtype not in (np.int64, np.uint64):
        return indices
    return np.where((indices >= 0) & (indices < 2**31), indices, -1).astype(np.int32)


class TopKActivations(eqx.Module):
    r"""Learned activations given by the values and features of the few entries that are not zero.

    Pass it as `learned_activations` in place of an array. Results are the same, and `update` takes
    time and memory in proportion to the number of values, however many features there are. There
    are two exceptions: `Capacity` keeps whole vectors and needs memory for them, and
    `LatentClassification` takes arrays alone.

    **Arguments:**

    - `values`: floating point, `[*batch, component?, k]`.
    - `indices`: integer, `[*batch, component?, k]`: the feature of each value. One outside
        $[0, \text{num\_learned\_features})$ is padding: it adds nothing, whatever its value. The
        others must be different within a vector: each counts by itself.
    - `num_learned_features`: how many features there are.

    `jax.lax.top_k(activations, k)` returns such values and indices.

    **Raises:** `TypeError` for wrong dtypes, `ValueError` for shapes that differ.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> learned_activations = jsm.TopKActivations(
        ...     values=jnp.array([[2.0, 1.0], [3.0, 0.0]]),
        ...     indices=jnp.array([[0, 2], [2, -1]]),
        ...     num_learned_features=3,
        ... )
        >>> metric = jsm.NeuronFiredCount(num_learned_features=3)
        >>> state = metric.update(metric.init(), learned_activations=learned_activations)
        >>> print(metric.compute(state))
        [1 0 2]

    ??? note "Differences from other tools"

        JAX and NumPy take index -1 for the last feature, and would count padding there.
        sparsify and fae take a selected feature for a firing one; here its value decides.
    """

    values: Float[Array, "..."]
    indices: Integer[Array, "..."] = eqx.field(converter=_in_int32)
    num_learned_features: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        check_size("num_learned_features", self.num_learned_features)
        for name, array, kind in (
            ("values", self.values, jnp.floating),
            ("indices", self.indices, jnp.integer),
        ):
            expected = f"an array of {kind.__name__} dtype"
            is_shape = isinstance(array, jax.ShapeDtypeStruct)  # under `jax.eval_shape`
            if not (is_shape or (is_array(array) and hasattr(array, "dtype"))):
                raise not_an_array(name, array, expected)
            if not jnp.issubdtype(array.dtype, kind):
                raise TypeError(f"{name}: expected {expected}, got {array.dtype}.")
        if self.values.shape != self.indices.shape:
            raise ValueError(
                "values and indices must have the same shape [*batch, component?, k], got "
                f"{self.values.shape} and {self.indices.shape}."
            )

    def without_padding(self) -> Float[Array, "*batch_and_component k"]:
        """The values, with 0 in place of padding."""
        return jnp.where(self.is_valid(), self.values, jnp.zeros((), self.values.dtype))

    def is_valid(self) -> Bool[Array, "*batch_and_component k"]:
        """Where an index names a feature, and is not padding."""
        # An integer of one or two bytes may not hold the number of features.
        is_narrow = self.indices.dtype.itemsize < 4
        indices = self.indices.astype(jnp.int32) if is_narrow else self.indices
        return (indices >= 0) & (indices < self.num_learned_features)
