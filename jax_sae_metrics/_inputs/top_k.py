"""Learned activations given by the few features that are active in each vector."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from .._configuration import check_size
from .checks_of_entries import check_array, check_same_shape, in_int32, is_index


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
    indices: Integer[Array, "..."] = eqx.field(converter=in_int32)
    num_learned_features: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        check_size("num_learned_features", self.num_learned_features)
        check_array("values", self.values, jnp.floating)
        check_array("indices", self.indices, jnp.integer)
        check_same_shape("[*batch, component?, k]", values=self.values, indices=self.indices)

    def without_padding(self) -> Float[Array, "*batch_and_component k"]:
        """The values, with 0 in place of padding."""
        return jnp.where(self.is_valid(), self.values, jnp.zeros((), self.values.dtype))

    def is_valid(self) -> Bool[Array, "*batch_and_component k"]:
        """Where an index names a feature, and is not padding."""
        return is_index(self.indices, self.num_learned_features)
