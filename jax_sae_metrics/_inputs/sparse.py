"""Learned activations given by all entries that are not zero, in one flat list."""

import math

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from .._configuration import as_tuple, check_in_order, check_size
from .checks_of_entries import check_array, check_same_shape, in_int32, is_index


class SparseActivations(eqx.Module):
    r"""Learned activations given by a flat list of the entries that are not zero.

    Pass it as `learned_activations` in place of an array: for BatchTopK, JumpReLU, or any code in
    which vectors have different numbers of active features. Results are the same, and `update`
    takes time and memory in proportion to the number of entries, however many features there are.
    The exceptions are those of `TopKActivations`, which suit codes with equally many entries in
    each vector, and are faster there.

    **Arguments:**

    - `values`: floating point, `[entry]`, in any order.
    - `vector_indices`: integer, `[entry]`: the vector of each value. Vectors are those of
        `shape[:-1]`, counted in row-major order: with components, vector $n$ of component $c$ of
        $C$ is $n C + c$.
    - `feature_indices`: integer, `[entry]`: the feature of each value.
    - `shape`: that of the array, `(*batch, component?, num_learned_features)`.

    An entry is padding if one of its indices is out of range: it adds nothing, whatever its value.
    So a list of fixed length can hold any smaller number of entries. All other entries must be at
    different places: of two at the same place, each counts by itself, as two activations.

    **Raises:** `TypeError` for wrong dtypes, `ValueError` for lists of different lengths or a wrong
    shape.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> learned_activations = jsm.SparseActivations(
        ...     values=jnp.array([2.0, 1.0, 3.0, 0.0]),
        ...     vector_indices=jnp.array([0, 0, 1, -1]),
        ...     feature_indices=jnp.array([0, 2, 2, -1]),
        ...     shape=(2, 3),
        ... )
        >>> metric = jsm.NeuronFiredCount(num_learned_features=3)
        >>> state = metric.update(metric.init(), learned_activations=learned_activations)
        >>> print(metric.compute(state))
        [1 0 2]

    ??? note "Differences from other tools"

        `jax.experimental.sparse.BCOO` adds up what is at the same place, and sorts for that where
        it must. JAX and NumPy take index -1 for the last feature, and would count padding there.
    """

    values: Float[Array, " entry"]
    vector_indices: Integer[Array, " entry"] = eqx.field(converter=in_int32)
    feature_indices: Integer[Array, " entry"] = eqx.field(converter=in_int32)
    shape: tuple[int, ...] = eqx.field(static=True, converter=as_tuple)

    def __check_init__(self) -> None:
        check_in_order("shape", self.shape, at_least=2)
        check_size("the last number of shape, that of learned features", self.shape[-1])
        check_array("values", self.values, jnp.floating)
        check_array("vector_indices", self.vector_indices, jnp.integer)
        check_array("feature_indices", self.feature_indices, jnp.integer)
        check_same_shape(
            "[entry]",
            values=self.values,
            vector_indices=self.vector_indices,
            feature_indices=self.feature_indices,
        )

    @property
    def num_learned_features(self) -> int:
        """How many features there are."""
        return self.shape[-1]

    def spread(self, shape: tuple[int, ...]) -> "SparseActivations":
        """The same entries for each component, if `shape` has more of them than 1."""
        if shape == self.shape:
            return self
        num_components = shape[-2]
        vectors = jnp.where(self.is_valid(), self.vector_indices.astype(jnp.int32), jnp.int32(-1))
        components = jnp.arange(num_components, dtype=jnp.int32)
        vectors = vectors[:, None] * jnp.int32(num_components) + components[None]
        values, features = (
            jnp.repeat(x, num_components) for x in (self.values, self.feature_indices)
        )
        return SparseActivations(values, vectors.reshape(-1), features, shape)

    def without_padding(self) -> Float[Array, " entry"]:
        """The values, with 0 in place of padding."""
        return jnp.where(self.is_valid(), self.values, jnp.zeros((), self.values.dtype))

    def is_valid(self) -> Bool[Array, " entry"]:
        """Where both indices name something, and an entry is not padding."""
        is_vector = is_index(self.vector_indices, math.prod(self.shape[:-1]))
        return is_vector & is_index(self.feature_indices, self.num_learned_features)
