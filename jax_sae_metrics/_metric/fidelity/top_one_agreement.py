"""How often the model's first choice survives when reconstructions replace activations."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp

from ..._inputs import Batch
from ..base import AbstractMean


class TopOneAgreement(AbstractMean):
    r"""Portion of items at which the reconstruction leaves the model's first choice as it was.

    With logits $z$ of the unchanged model, and logits $z_\text{recon}$ with the reconstruction in
    place of the activations, over all $v$ unmasked items of all batches,

    $$\frac{1}{v} \sum_{i=1}^{v}
    \left[\arg\max_t z_{\text{recon},it} = \arg\max_t z_{it}\right]$$

    If tokens tie for the largest logit, the first of them is chosen, in both. Logits of low
    precision do tie. An item with a NaN among its logits does not agree.

    **Inputs** of `observe`, `update` and `forward`: `source_logits` and
    `logits_with_reconstruction`, floating point, both `[*items, vocabulary]` with `component_idx`,
    or `[*items, component?, vocabulary]` without it. `component_idx` is as for
    `KLDivergenceScore`. A mask is over the items.

    **Result:** float32 `[component?]`, from 0 to 1; NaN where nothing was seen.

    **Arguments:**

    - `num_components`: size of the component axis; `None` if there is none.
    - `clusters`: what is independent for the error bars: `"items"`, or `"prompts"`, the entries of
        the first batch axis.

    **Raises:** `ValueError` for a `num_components` that is not a positive integer or `None`.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.TopOneAgreement()
        >>> state = metric.update(
        ...     metric.init(),
        ...     source_logits=jnp.array([[3.0, 1.0], [0.0, 2.0], [0.0, 2.0], [5.0, 4.0]]),
        ...     logits_with_reconstruction=jnp.array([[2.0, 1], [1, 4], [1, 0], [6, 5]]),
        ... )
        >>> print(metric.compute(state), metric.standard_error(state))
        0.75 0.25

    ??? note "Differences from other tools"

        Neither SAELens nor dictionary_learning has it.
    """

    num_components: int | None = eqx.field(static=True, default=None)

    def _observe(self, batch: Batch) -> Any:
        items, (clean, reconstructed) = batch.logits("source_logits", "logits_with_reconstruction")
        agrees = jnp.argmax(clean, axis=-1) == jnp.argmax(reconstructed, axis=-1)
        # argmax takes NaN for the largest.
        has_nan = jnp.any(jnp.isnan(clean) | jnp.isnan(reconstructed), axis=-1)
        return items, agrees & ~has_nan
