"""How much of a dimension each activation vector has to itself."""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Float32

from ..._accumulator import VectorBuffer, VectorRecord
from ..._arrays import computable, ratio, unsharded
from ..._configuration import check_size
from ..._core import AbstractMetric
from ..._inputs import Batch


def capacities(features: ArrayLike) -> Float[Array, "*component vector"]:
    r"""Capacity of each vector among all vectors of its component.

    $$C_i = \frac{(v_i \cdot v_i)^2}{\sum_j (v_i \cdot v_j)^2}$$

    It is 1 for a vector orthogonal to all others, and $1/n$ for $n$ equal vectors.

    **Arguments:**

    - `features`: floating point, `[vector, component?, feature]`.

    **Returns:** float32 `[component?, vector]`, from 0 to 1; NaN for a zero vector. The matrix of
    all products, `[component?, vector, vector]`, is held in memory.

    **Raises:** `ValueError` unless there are two or three axes, `TypeError` for an input that is
    not floating point.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> print(jsm.capacities(jnp.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])))
        [1.  0.5 0.5]

    ??? cite "Reference"

        A. Scherlis et al., [Polysemanticity and Capacity in Neural
        Networks](https://arxiv.org/abs/2210.01892), 2022.
    """
    vectors = computable("features", features)
    if vectors.ndim not in (2, 3):
        raise ValueError(
            "features: expected shape [vector, feature] or [vector, component, feature], got "
            f"{vectors.shape}."
        )
    return _capacities(jnp.moveaxis(vectors, 0, -1))


class _CapacityState(eqx.Module):
    vectors: VectorBuffer


class Capacity(AbstractMetric[_CapacityState]):
    r"""Capacity of each learned activation vector among all those seen.

    $$C_n = \frac{(f_n \cdot f_n)^2}{\sum_m (f_n \cdot f_m)^2}$$

    Whole vectors are kept, up to a number fixed beforehand, because JAX has no arrays that grow.
    Later vectors are dropped.

    **Input** of `observe`, `update` and `forward`: `learned_activations`, floating point,
    `[*batch, component?, learned_feature]`, `TopKActivations` or `SparseActivations`.

    **Result:** float32 `[component?, num_activation_vectors]`, in the order in which the vectors
    were seen. NaN for a zero vector, and in the places of vectors that are yet to come.

    **Arguments:**

    - `num_activation_vectors`: how many unmasked vectors to keep, per component.
    - `num_learned_features`: size of the last axis.
    - `num_components`: size of the component axis; `None` if there is none.

    **Raises:** `ValueError` for sizes that are not positive integers.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.Capacity(num_activation_vectors=2, num_learned_features=3)
        >>> learned_activations = jnp.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
        >>> state = metric.update(metric.init(), learned_activations=learned_activations)
        >>> print(metric.compute(state))
        [1. 1.]

    ??? note "Differences from other tools"

        The torch version's `CapacityMetric` keeps every vector in a list that grows, and needs a
        component axis. Its static method is the function `capacities` here.

    ??? cite "Reference"

        A. Scherlis et al., [Polysemanticity and Capacity in Neural
        Networks](https://arxiv.org/abs/2210.01892), 2022.
    """

    num_activation_vectors: int = eqx.field(static=True)
    num_learned_features: int = eqx.field(static=True)
    num_components: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        check_size("num_activation_vectors", self.num_activation_vectors)

    def _init(self) -> _CapacityState:
        shape = self._shape("learned_feature")
        return _CapacityState(vectors=VectorBuffer.zeros(shape, self.num_activation_vectors))

    def _observe(self, batch: Batch) -> dict[str, VectorRecord]:
        return {"vectors": batch.learned_activations.all_vectors()}

    def _compute(self, state: _CapacityState) -> Float32[Array, "*component vector"]:
        return _capacities(state.vectors.values)


def _capacities(
    vectors: Float[Array, "*component feature vector"],
) -> Float[Array, "*component vector"]:
    vectors = unsharded(vectors)
    products = jnp.einsum("...fn,...fm->...nm", vectors, vectors, precision=lax.Precision.HIGHEST)
    own = jnp.diagonal(products, axis1=-2, axis2=-1)
    # Divided first: fourth powers of activations would be 0, or infinite, far earlier than squares.
    shared = jnp.sum(jnp.square(ratio(products, own[..., None])), axis=-1)
    return ratio(jnp.ones_like(own), shared)
