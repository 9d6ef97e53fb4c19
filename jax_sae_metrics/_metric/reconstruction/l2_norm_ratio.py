"""Whether reconstructions are as long as what they reconstruct."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from ..._inputs import Batch
from ..base import AbstractMeanOfRatios, squared_decoded, squared_source


class L2NormRatio(AbstractMeanOfRatios):
    r"""Mean over vectors of the norm of the decoded activations, relative to the source.

    $$\frac{1}{N} \sum_{n=1}^{N} \frac{|y_n|}{|x_n|}$$

    over all $N$ unmasked vectors of all batches, $x$ the source and $y$ the decoded activations. It
    is below 1 where activations shrink, as an L1 penalty makes them.

    **Inputs** of `observe`, `update` and `forward`: `source_activations` and `decoded_activations`,
    floating point, `[*batch, component?, input_feature]`.

    **Result:** float32 `[component?]`, at least 0; NaN where nothing was seen. A vector with
    $|x| = 0$ has no such number: it is skipped, and counted by `num_skipped`.

    **Arguments:**

    - `num_components`: size of the component axis; `None` if there is none.
    - `clusters`: what is independent for the error bars: `"items"`, or `"prompts"`, the entries of
        the first batch axis.

    **Raises:** `ValueError` for a `num_components` that is not a positive integer or `None`.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.L2NormRatio()
        >>> state = metric.update(
        ...     metric.init(),
        ...     source_activations=jnp.array([[2.0, 0.0], [0.0, 4.0], [0.0, 0.0]]),
        ...     decoded_activations=jnp.array([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]]),
        ... )
        >>> print(metric.compute(state), metric.num_skipped(state))
        0.875 1

    ??? note "Differences from other tools"

        SAELens reports it as `l2_ratio`, with 1 in place of an $|x|$ below 1e-4: a vector of zeros
        adds $|y|$ there.
    """

    num_components: int | None = eqx.field(static=True, default=None)

    def _observe(self, batch: Batch) -> Any:
        both = batch.activations("source_activations", "decoded_activations")
        return (
            both.items,
            both.sum_per_vector(squared_decoded),
            both.sum_per_vector(squared_source),
        )

    def _of_each(self, decoded_squares: Array, source_squares: Array) -> tuple[Array, Array]:
        return jnp.sqrt(decoded_squares), jnp.sqrt(source_squares)
