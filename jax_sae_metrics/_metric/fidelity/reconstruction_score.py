"""How much of the model's loss survives when reconstructions replace activations."""

from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float32

from ..._accumulator import RatioOfSums, Total
from ..._arrays import ratio
from ..._configuration import check_choice
from ..._inputs import Batch
from ..base import AbstractErrorBars

ABLATIONS = ("zero", "mean")
_AVERAGES = ("ratio_of_sums", "mean_of_ratios")


class _ReconstructionScoreState(eqx.Module):
    """Sums of the loss that is won back, and of the loss that remains.

    `recovered` is the loss that the reconstruction wins back: summed by itself, it has more digits
    near a score of 0. `lost` is the loss that remains, over the loss that was at stake: its
    standard error is reported, because its terms do not cancel near a score of 1.
    """

    recovered: Total
    lost: RatioOfSums


class ReconstructionScore(AbstractErrorBars[_ReconstructionScoreState]):
    r"""Portion of the increase in loss by zero ablation that the reconstruction wins back.

    With losses $l$ of the unchanged model, $l_\text{recon}$ with the reconstruction in place of the
    activations and $l_\text{zero}$ with zeros there, over all $v$ unmasked items of all batches,

    $$s = \frac{\sum_{i=1}^{v} (l_{\text{zero},i} - l_{\text{recon},i})}
    {\sum_{i=1}^{v} (l_{\text{zero},i} - l_i)}
    \qquad \text{or, with } \texttt{average="mean_of_ratios"}, \qquad
    s = \frac{1}{v} \sum_{i=1}^{v}
    \frac{l_{\text{zero},i} - l_{\text{recon},i}}{l_{\text{zero},i} - l_i}$$

    It is 1 if nothing is lost, 0 if the reconstruction is no better than zeros, and negative if it
    is worse. The differences are taken item by item before they are summed, so that no sum of large
    losses cancels. Where the ablation hardly costs anything, there is nothing to win back: the
    standard error says how much such a score is worth.

    **Inputs** of `observe`, `update` and `forward`: `source_model_loss`,
    `source_model_loss_with_reconstruction` and `source_model_loss_with_zero_ablation`, floating
    point, all three `[*items]` with `component_idx`, or `[*items, component?]` without it.
    `component_idx`, an int or a traced integer scalar, says which component the reconstruction
    was put into; with `num_components=1` it may be left out. A static one out of range raises
    `IndexError`; a traced one out of range adds nothing to any component. A mask is over the items;
    `next_token_mask` makes it from a mask over tokens.

    **Result:** float32 `[component?]`; NaN where nothing was seen.

    **Arguments:**

    - `num_components`: size of the component axis; `None` if there is none.
    - `average`: `"ratio_of_sums"` (robust: an item whose ablation hardly changes the loss has
        little weight) or `"mean_of_ratios"` (such an item can outweigh all others; one whose
        ablation changes nothing at all gives inf or NaN).
    - `ablation`: `"zero"`, or `"mean"` to read `source_model_loss_with_mean_ablation` in place of
        the loss with zeros. There, every activation is replaced by its mean over tokens. As a rule
        this hurts the model less, so that the score is stricter. The two scores cannot be compared.
    - `clusters`: what is independent for the error bars: `"items"`, or `"prompts"`, the entries of
        the first batch axis.

    **Raises:** `ValueError` for a `num_components` that is not a positive integer or `None`, or an
    unknown average or ablation.

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
        dictionary_learning's `frac_recovered` is the ratio of the means over one batch. The two
        tools count different tokens: see `next_token_mask`. Llamascopium's `downstream_loss_ratio`
        is 1 divided by the score of each batch, so that larger is worse.
    """

    num_components: int | None = eqx.field(static=True, default=None)
    average: Literal["ratio_of_sums", "mean_of_ratios"] = eqx.field(
        static=True, default="ratio_of_sums"
    )
    ablation: Literal["zero", "mean"] = eqx.field(static=True, default="zero")

    def __check_init__(self) -> None:
        check_choice("average", self.average, _AVERAGES)
        check_choice("ablation", self.ablation, ABLATIONS)

    def _init(self) -> _ReconstructionScoreState:
        return _ReconstructionScoreState(
            recovered=Total.zeros(self._shape()), lost=RatioOfSums.zeros(self._shape())
        )

    def _observe(self, batch: Batch) -> dict[str, Any]:
        items, (clean, reconstructed, ablated) = batch.losses(
            "source_model_loss",
            "source_model_loss_with_reconstruction",
            f"source_model_loss_with_{self.ablation}_ablation",
        )
        recovered, lost, at_stake = ablated - reconstructed, reconstructed - clean, ablated - clean
        if self.average == "mean_of_ratios":
            recovered, lost = recovered / at_stake, lost / at_stake
            at_stake = jnp.ones_like(at_stake)
        return {
            "recovered": items.sum(recovered),
            "lost": self._ratio(items, lost, at_stake),
        }

    def _compute(self, state: _ReconstructionScoreState) -> Float32[Array, "*component"]:
        return ratio(state.recovered.to_float(), state.lost.denominator())

    def _covariance(
        self, state: _ReconstructionScoreState
    ) -> Float32[Array, "*component_and_component"]:
        return state.lost.covariance()
