"""The model's perplexity when reconstructions replace activations."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float32

from ..._accumulator import RatioOfSums
from ..._inputs import Batch
from ..base import AbstractMean


class PerplexityWithReconstruction(AbstractMean):
    r"""Perplexity of the model with reconstructions in place of the activations.

    With the losses $l_\text{recon}$ over all $v$ unmasked items of all batches,

    $$\exp\left(\frac{1}{v} \sum_{i=1}^{v} l_{\text{recon},i}\right)$$

    The model is as undecided as if it drew evenly from this number of tokens. The mean over all
    items is taken before the exponential: the mean of the perplexities of batches would be larger.
    Its standard error is, to first order, the perplexity times the standard error of the mean loss.

    **Inputs** of `observe`, `update` and `forward`: `source_model_loss_with_reconstruction`,
    floating point, in nats, `[*items]` with `component_idx`, or `[*items, component?]` without it.
    `component_idx` is as for `ReconstructionScore`. A mask is over the items.

    **Result:** float32 `[component?]`, at least 1 for cross-entropies; NaN where nothing was seen.

    **Arguments:**

    - `num_components`: size of the component axis; `None` if there is none.
    - `clusters`: what is independent for the error bars: `"items"`, or `"prompts"`, the entries of
        the first batch axis.

    **Raises:** `ValueError` for a `num_components` that is not a positive integer or `None`.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.PerplexityWithReconstruction()
        >>> state = metric.update(
        ...     metric.init(),
        ...     source_model_loss_with_reconstruction=jnp.log(jnp.array([2.0, 8.0])),
        ... )
        >>> print(metric.compute(state))
        4.0

    ??? note "Differences from other tools"

        torchmetrics' `Perplexity` takes logits and targets. This metric takes the losses that the
        other metrics of the model's fidelity read.
    """

    num_components: int | None = eqx.field(static=True, default=None)

    def _observe(self, batch: Batch) -> Any:
        items, (losses,) = batch.losses("source_model_loss_with_reconstruction")
        return items, losses

    def _compute(self, state: RatioOfSums) -> Float32[Array, "*component"]:
        return jnp.exp(state.value())

    def _covariance(self, state: RatioOfSums) -> Float32[Array, "*component_and_component"]:
        perplexity = self._compute(state)
        return jnp.multiply.outer(perplexity, perplexity) * state.covariance()
