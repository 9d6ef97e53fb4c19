"""The training loss: reconstruction error plus sparsity penalty."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from ..._arrays import sharded_as
from ..._configuration import as_tuple, check_between
from ..._inputs import Batch, SparseActivations, TopKActivations
from ..base import AbstractMean, absolute, squared_error
from ..sparsity.l1_absolute_loss import l1_absolute_loss
from .l2_reconstruction_loss import l2_reconstruction_loss


def sparse_autoencoder_loss(
    source_activations: ArrayLike,
    learned_activations: ArrayLike | TopKActivations | SparseActivations,
    decoded_activations: ArrayLike,
    l1_coefficient: float,
) -> Float[Array, "*batch_and_component"]:
    r"""Squared error plus sparsity penalty, one value per vector and component.

    $$\ell(x, f, y) = \frac{1}{d} \sum_{j=1}^{d} (x_j - y_j)^2 + \lambda \sum_i |f_i|$$

    It is differentiable: train with its mean. It replaces the torch version's
    `SparseAutoencoderLoss(keep_batch_dim=True)`.

    **Arguments:**

    - `source_activations`: floating point, `[*batch, component?, input_feature]`.
    - `learned_activations`: floating point, `[*batch, component?, learned_feature]`, or
        `TopKActivations`.
    - `decoded_activations`: of the shape of `source_activations`.
    - `l1_coefficient`: $\lambda$.

    **Returns:** `[*batch, component?]`, float32 (float64 for float64 input).

    **Raises:** `ValueError` for shapes that do not agree, `TypeError` for inputs that are not
    floating point.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> source, learned, decoded = jnp.zeros((2, 3)), jnp.ones((2, 4)), jnp.ones((2, 3))
        >>> print(jsm.sparse_autoencoder_loss(source, learned, decoded, l1_coefficient=0.01))
        [1.04 1.04]
    """
    l2 = l2_reconstruction_loss(source_activations, decoded_activations)
    l1 = l1_absolute_loss(learned_activations)
    if l1.shape != l2.shape:
        raise ValueError(
            "source_activations and learned_activations must have the same batch and component "
            f"axes, got {l2.shape} and {l1.shape}."
        )
    return l2 + l1_coefficient * l1


class SparseAutoencoderLoss(AbstractMean):
    r"""Mean squared error plus the sparsity penalty.

    $$\frac{1}{N} \sum_{n=1}^{N} \left[ \frac{1}{d} \sum_{j=1}^{d} (x_{nj} - y_{nj})^2
    + \lambda \sum_i |f_{ni}| \right]$$

    over all $N$ unmasked vectors of all batches: `L2ReconstructionLoss` plus `l1_coefficient`
    times `L1AbsoluteLoss`.

    **Inputs** of `observe`, `update` and `forward`: `source_activations` and `decoded_activations`,
    `[*batch, component?, input_feature]`, and `learned_activations`,
    `[*batch, component?, learned_feature]`, floating point, or `TopKActivations`.

    **Result:** float32 `[component?]`; NaN where nothing was seen.

    **Arguments:**

    - `l1_coefficient`: $\lambda$, at least 0, or one for each component: a sweep in one run. It
        has no default: the torch version's 0.001 suits no data in particular.
    - `num_components`: size of the component axis; `None` if there is none.
    - `clusters`: what is independent for the error bars: `"items"`, or `"prompts"`, the entries of
        the first batch axis.

    **Raises:** `ValueError` for a negative coefficient, coefficients that are not one for each
    component, or a `num_components` that is not a positive integer or `None`.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.SparseAutoencoderLoss(l1_coefficient=0.01)
        >>> state = metric.update(
        ...     metric.init(),
        ...     source_activations=jnp.zeros((2, 3)),
        ...     learned_activations=jnp.ones((2, 4)),
        ...     decoded_activations=jnp.ones((2, 3)),
        ... )
        >>> print(metric.compute(state))
        1.04
    """

    l1_coefficient: float | tuple[float, ...] = eqx.field(static=True, converter=as_tuple)
    num_components: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        if not isinstance(self.l1_coefficient, tuple):
            check_between("l1_coefficient", self.l1_coefficient, 0.0)
            return
        for coefficient in self.l1_coefficient:
            check_between("l1_coefficient", coefficient, 0.0)
        if len(self.l1_coefficient) != self.num_components:
            raise ValueError(
                "l1_coefficient: expected one number, or a tuple of one for each of num_components="
                f"{self.num_components} components, got {len(self.l1_coefficient)}."
            )

    def _observe(self, batch: Batch) -> Any:
        both = batch.activations("source_activations", "decoded_activations")
        l1 = batch.learned_activations.sum_per_vector(absolute)
        return both.items, both.sum_per_vector(squared_error), both.num_features, l1

    def _of_each(self, errors: Array, num_features: int, l1: Array) -> Array:
        coefficients = jnp.asarray(self.l1_coefficient, l1.dtype)
        coefficients = jnp.broadcast_to(coefficients, l1.shape, **sharded_as(l1))
        return errors / num_features + coefficients * l1
