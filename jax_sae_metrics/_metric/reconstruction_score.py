"""How much of the model's loss survives when reconstructions replace activations."""

from typing import Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float32

from .._abstract_metric import AbstractMetric
from .._accumulator import Total, ratio
from .._batch import Batch
from .._configuration import check_choice, check_num_components, component_shape

_AVERAGES = ("ratio_of_sums", "mean_of_ratios")


class _ReconstructionScoreState(eqx.Module):
    numerator: Total | Float32[Array, "*component"]
    denominator: Total | Float32[Array, "*component"]


class ReconstructionScore(AbstractMetric[_ReconstructionScoreState]):
    r"""Portion of the loss lost to zero ablation that the reconstruction wins back.

    With the losses of the unchanged model $l$, with the reconstruction put in place of the
    activations $l_\text{recon}$ and with zeros put there $l_\text{zero}$, over all $v$ unmasked
    items of all batches,

    $$s = \frac{\sum_{i=1}^{v} (l_{\text{zero},i} - l_{\text{recon},i})}
    {\sum_{i=1}^{v} (l_{\text{zero},i} - l_i)}
    \qquad \text{or, with } \texttt{average="mean_of_ratios"}, \qquad
    s = \frac{1}{v} \sum_{i=1}^{v}
    \frac{l_{\text{zero},i} - l_{\text{recon},i}}{l_{\text{zero},i} - l_i}$$

    1 if nothing is lost, 0 if the reconstruction is no better than zeros. The differences are taken
    item by item before they are summed, so that no sum of large losses cancels.

    **Inputs** of `observe`, `update` and `forward`: `source_model_loss`,
    `source_model_loss_with_reconstruction` and `source_model_loss_with_zero_ablation`, floating
    point, all three `[*items]` with `component_idx`, or `[*items, component?]` without it.
    `component_idx`, an int or a traced integer scalar, says which component the reconstruction
    was put into; with `num_components=1` it may be left out. A static one out of range raises
    `IndexError`; a traced one out of range adds nothing to any component. A mask is over the items.

    **Result:** float32 `[component?]`; NaN where nothing was seen.

    **Arguments:**

    - `num_components`: size of the component axis; `None` if there is none.
    - `average`: `"ratio_of_sums"` (robust: an item whose ablation hardly changes the loss has
        little weight) or `"mean_of_ratios"` (such an item can outweigh all others; one whose
        ablation changes nothing at all gives inf or NaN).

    **Raises:** `ValueError` for a `num_components` that is not a positive integer or `None`, or an
    unknown average.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.ReconstructionScore(num_components=1)
        >>> state = metric.update(
        ...     metric.init(),
        ...     source_model_loss=jnp.array([2.0, 2.0, 2.0]),
        ...     source_model_loss_with_reconstruction=jnp.array([3.0, 3.0, 3.0]),
        ...     source_model_loss_with_zero_ablation=jnp.array([5.0, 5.0, 5.0]),
        ...     component_idx=0,
        ... )
        >>> print(metric.compute(state))
        [0.6666667]

    ??? note "Differences from other tools"

        The torch version's documentation of `ReconstructionScoreMetric` gives the mean of ratios,
        but its code computes the ratio of sums; both are here, by name. SAELens' `ce_loss_score` is
        the ratio of the means over the whole evaluation, the same as the ratio of sums.
    """

    num_components: int | None = eqx.field(static=True, default=None)
    average: Literal["ratio_of_sums", "mean_of_ratios"] = eqx.field(
        static=True, default="ratio_of_sums"
    )

    def __check_init__(self) -> None:
        check_num_components(self.num_components)
        check_choice("average", self.average, _AVERAGES)

    def _init(self) -> _ReconstructionScoreState:
        components = component_shape(self.num_components)
        return _ReconstructionScoreState(
            numerator=Total.zeros(components), denominator=Total.zeros(components)
        )

    def _observe(self, batch: Batch) -> _ReconstructionScoreState:
        items, (clean, reconstructed, ablated) = batch.losses(
            self,
            "source_model_loss",
            "source_model_loss_with_reconstruction",
            "source_model_loss_with_zero_ablation",
        )
        numerator = ablated - reconstructed
        denominator = ablated - clean
        if self.average == "mean_of_ratios":
            numerator, denominator = numerator / denominator, jnp.ones_like(denominator)
        return _ReconstructionScoreState(
            numerator=items.sum(numerator), denominator=items.sum(denominator)
        )

    def _compute(self, state: _ReconstructionScoreState) -> Float32[Array, "*component"]:
        return ratio(state.numerator.to_float(), state.denominator.to_float())
