"""The reconstruction error: squared difference of source and decoded activations."""

from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from ..._arrays import computable
from ..._configuration import check_choice
from ..._inputs import Batch
from ..base import AbstractMean, squared_error

_REDUCTIONS = {"mean": jnp.mean, "sum": jnp.sum}


def l2_reconstruction_loss(
    source_activations: ArrayLike,
    decoded_activations: ArrayLike,
    reduction: Literal["mean", "sum"] = "mean",
) -> Float[Array, "*batch_and_component"]:
    r"""Squared error of the reconstruction, one value per vector and component.

    $$\ell_2(x, y) = \frac{1}{d} \sum_{j=1}^{d} (x_j - y_j)^2
    \qquad \text{or, with } \texttt{reduction="sum"}, \qquad \sum_{j=1}^{d} (x_j - y_j)^2$$

    It is differentiable: train with this function, and report `L2ReconstructionLoss`. It replaces
    the torch version's `L2ReconstructionLoss(keep_batch_dim=True)`.

    **Arguments:**

    - `source_activations`: floating point, `[*batch, component?, input_feature]`.
    - `decoded_activations`: of the same shape.
    - `reduction`: over the input features, `"mean"` or `"sum"`.

    **Returns:** `[*batch, component?]`, float32 (float64 for float64 input).

    **Raises:** `ValueError` for different shapes or an unknown reduction, `TypeError` for inputs
    that are not floating point.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> source = jnp.array([[4.0, 2.0], [2.0, 0.0]])
        >>> print(jsm.l2_reconstruction_loss(source, jnp.array([[2.0, 0.0], [0.0, 0.0]])))
        [4. 2.]
    """
    check_choice("reduction", reduction, tuple(_REDUCTIONS))
    source = computable("source_activations", source_activations)
    decoded = computable("decoded_activations", decoded_activations)
    if source.shape != decoded.shape:
        raise ValueError(
            "source_activations and decoded_activations must have the same shape, got "
            f"{source.shape} and {decoded.shape}."
        )
    return _REDUCTIONS[reduction](jnp.square(source - decoded), axis=-1)


class L2ReconstructionLoss(AbstractMean):
    r"""Mean squared error of the reconstruction.

    $$\frac{1}{N} \sum_{n=1}^{N} \frac{1}{d} \sum_{j=1}^{d} (x_{nj} - y_{nj})^2$$

    over all $N$ unmasked vectors of all batches, $x$ the source and $y$ the decoded activations.
    With `reduction="sum"` the factor $1/d$ is left out.

    **Inputs** of `observe`, `update` and `forward`: `source_activations` and `decoded_activations`,
    floating point, `[*batch, component?, input_feature]`.

    **Result:** float32 `[component?]`, in squared units of the activations; NaN where nothing was
    seen.

    **Arguments:**

    - `num_components`: size of the component axis; `None` if there is none.
    - `reduction`: over the input features, `"mean"` or `"sum"`.
    - `clusters`: what is independent for the error bars: `"items"`, or `"prompts"`, the entries of
        the first batch axis.

    **Raises:** `ValueError` for a `num_components` that is not a positive integer or `None`, or an
    unknown reduction.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.L2ReconstructionLoss()
        >>> state = metric.update(
        ...     metric.init(),
        ...     source_activations=jnp.array([[4.0, 2.0], [2.0, 0.0]]),
        ...     decoded_activations=jnp.array([[2.0, 0.0], [0.0, 0.0]]),
        ... )
        >>> print(metric.compute(state))
        3.0

    ??? note "Differences from other tools"

        The mean over input features is as in the torch version and OpenAI's code. SAELens reports
        the sum over input features as `mse`, dictionary_learning's trainers as `mse_loss` or
        `l2_loss`. The `l2_loss` of dictionary_learning's evaluation is a mean norm: see `L2Norm`.
    """

    num_components: int | None = eqx.field(static=True, default=None)
    reduction: Literal["mean", "sum"] = eqx.field(static=True, default="mean")

    def __check_init__(self) -> None:
        check_choice("reduction", self.reduction, tuple(_REDUCTIONS))

    def _observe(self, batch: Batch) -> Any:
        both = batch.activations("source_activations", "decoded_activations")
        return both.items, both.sum_per_vector(squared_error), both.num_features

    def _of_each(self, errors: Array, num_features: int) -> Array:
        return errors / num_features if self.reduction == "mean" else errors
