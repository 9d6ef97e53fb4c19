"""Whether reconstructions are systematically too short."""

from typing import Any

import equinox as eqx

from ..._inputs import Batch
from ..base import AbstractRatio, product, squared_decoded


class RelativeReconstructionBias(AbstractRatio):
    r"""By what factor reconstructions are too long, or too short: 1 if they are unbiased.

    $$\gamma = \frac{\sum_{n=1}^{N} |y_n|^2}{\sum_{n=1}^{N} x_n \cdot y_n}$$

    over all $N$ unmasked vectors of all batches, $x$ the source and $y$ the decoded activations.
    The reconstruction error is least for $y / \gamma$. $\gamma$ is below 1 where activations
    shrink, as an L1 penalty makes them.

    **Inputs** of `observe`, `update` and `forward`: `source_activations` and `decoded_activations`,
    floating point, `[*batch, component?, input_feature]`.

    **Result:** float32 `[component?]`; NaN where nothing was seen, or all $y$ are zero.

    **Arguments:**

    - `num_components`: size of the component axis; `None` if there is none.
    - `clusters`: what is independent for the error bars: `"items"`, or `"prompts"`, the entries of
        the first batch axis.

    **Raises:** `ValueError` for a `num_components` that is not a positive integer or `None`.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.RelativeReconstructionBias()
        >>> state = metric.update(
        ...     metric.init(),
        ...     source_activations=jnp.array([[2.0, 0.0], [0.0, 4.0]]),
        ...     decoded_activations=jnp.array([[2.0, 1.0], [0.0, 3.0]]),
        ... )
        >>> print(metric.compute(state))
        0.875

    ??? note "Differences from other tools"

        SAELens reports the mean of the ratios of single batches under the same name. This is the
        ratio of the sums over all batches, which does not depend on the cut into batches.

    ??? cite "Reference"

        S. Rajamanoharan et al., [Improving Dictionary Learning with Gated Sparse
        Autoencoders](https://arxiv.org/abs/2404.16014), 2024, equation 10.
    """

    num_components: int | None = eqx.field(static=True, default=None)

    def _observe(self, batch: Batch) -> Any:
        both = batch.activations("source_activations", "decoded_activations")
        return both.items, both.sum_per_vector(squared_decoded), both.sum_per_vector(product)
