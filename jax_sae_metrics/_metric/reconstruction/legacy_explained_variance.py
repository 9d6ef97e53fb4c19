"""The explained variance of single vectors, about the mean of their batch."""

from typing import Any

import equinox as eqx
from jaxtyping import Array

from ..._inputs import Batch
from ..base import AbstractMeanOfRatios, source, squared_error


class LegacyExplainedVariance(AbstractMeanOfRatios):
    r"""Mean over vectors of the explained variance of each, as in published SAEBench numbers.

    With source activations $x_n$, decoded activations $y_n$ and the mean $\bar x_{b(n)}$ of the
    unmasked source activations of the batch that vector $n$ is in,

    $$\frac{1}{N} \sum_{n=1}^{N}
    \left( 1 - \frac{|x_n - y_n|^2}{|x_n - \bar x_{b(n)}|^2} \right)$$

    over all $N$ unmasked vectors of all batches. Use it to compare with numbers reported elsewhere,
    and `ExplainedVariance` to report your own. It depends on the cut into batches. A vector close
    to the mean of its batch can outweigh all others: there is no lower bound.

    Each `update` is one batch. With `axis_name`, it is the batch of all devices together; without
    it, and in `observe`, the batch of this device. The source activations are read twice: the mean
    comes first.

    **Inputs** of `observe`, `update` and `forward`: `source_activations` and `decoded_activations`,
    floating point, `[*batch, component?, input_feature]`.

    **Result:** float32 `[component?]`, at most 1; NaN where nothing was seen. A vector equal to the
    mean of its batch, as in a batch of a single vector, has no such number: it is skipped, and
    counted by `num_skipped`.

    **Arguments:**

    - `num_components`: size of the component axis; `None` if there is none.
    - `clusters`: what is independent for the error bars: `"items"`, or `"prompts"`, the entries of
        the first batch axis.

    **Raises:** `ValueError` for a `num_components` that is not a positive integer or `None`.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.LegacyExplainedVariance()
        >>> state = metric.update(
        ...     metric.init(),
        ...     source_activations=jnp.array([[-1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]),
        ...     decoded_activations=jnp.array([[0.0, 0.0], [0.0, 2.0], [0.5, 1.0]]),
        ... )
        >>> print(metric.compute(state))
        0.75

    ??? note "Differences from other tools"

        SAELens and SAEBench report it as `explained_variance_legacy`, and Llamascopium logs its
        mean over batches. In SAELens, a vector equal to the
        mean of its batch makes the result NaN or minus infinity.
    """

    num_components: int | None = eqx.field(static=True, default=None)

    def _observe(self, batch: Batch) -> Any:
        both = batch.activations("source_activations", "decoded_activations")
        distances = both.squared_distance_per_vector(source)
        return both.items, both.sum_per_vector(squared_error), distances

    def _of_each(self, errors: Array, distances: Array) -> tuple[Array, Array]:
        return distances - errors, distances
