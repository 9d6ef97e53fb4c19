"""What the reconstruction costs the model, in units of its loss."""

from typing import Any

import equinox as eqx
from jaxtyping import Array

from ..._inputs import Batch
from ..base import AbstractMean


class LossIncrease(AbstractMean):
    r"""Mean increase of the model's loss when reconstructions replace activations.

    With losses $l$ of the unchanged model, and losses $l_\text{recon}$ with the reconstruction in
    place of the activations, over all $v$ unmasked items of all batches,

    $$\frac{1}{v} \sum_{i=1}^{v} (l_{\text{recon},i} - l_i)$$

    It is 0 if nothing is lost, and negative if the reconstruction happens to help. The differences
    are taken item by item before they are summed, so that no sum of large losses cancels. The
    standard error is found from the differences. It is much smaller than the errors of the two
    losses, which rise and fall together.

    **Inputs** of `observe`, `update` and `forward`: `source_model_loss` and
    `source_model_loss_with_reconstruction`, floating point, both `[*items]` with `component_idx`,
    or `[*items, component?]` without it. `component_idx` is as for `ReconstructionScore`. A mask is
    over the items.

    **Result:** float32 `[component?]`, in the units of the losses: nats for cross-entropies by the
    natural logarithm; NaN where nothing was seen.

    **Arguments:**

    - `num_components`: size of the component axis; `None` if there is none.
    - `clusters`: what is independent for the error bars: `"items"`, or `"prompts"`, the entries of
        the first batch axis.

    **Raises:** `ValueError` for a `num_components` that is not a positive integer or `None`.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.LossIncrease()
        >>> state = metric.update(
        ...     metric.init(),
        ...     source_model_loss=jnp.array([2.0, 1.0]),
        ...     source_model_loss_with_reconstruction=jnp.array([3.0, 1.5]),
        ... )
        >>> print(metric.compute(state), metric.standard_error(state))
        0.75 0.25

    ??? note "Differences from other tools"

        This is the difference of the two mean losses that SAELens and dictionary_learning report,
        and `recon_loss_diff` of saex.
    """

    num_components: int | None = eqx.field(static=True, default=None)

    def _observe(self, batch: Batch) -> Any:
        names = ("source_model_loss", "source_model_loss_with_reconstruction")
        items, losses = batch.losses(*names)
        return items, *losses

    def _of_each(self, clean: Array, reconstructed: Array) -> Array:
        return reconstructed - clean
