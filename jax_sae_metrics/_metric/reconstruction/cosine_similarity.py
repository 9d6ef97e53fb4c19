"""Whether reconstructions point where the source activations do."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from ..._inputs import Batch
from ..base import AbstractMeanOfRatios, product, squared_decoded, squared_source


class CosineSimilarity(AbstractMeanOfRatios):
    r"""Mean cosine of the angle between source and decoded activations.

    $$\frac{1}{N} \sum_{n=1}^{N} \frac{x_n \cdot y_n}{|x_n|\,|y_n|}$$

    over all $N$ unmasked vectors of all batches, $x$ the source and $y$ the decoded activations.

    **Inputs** of `observe`, `update` and `forward`: `source_activations` and `decoded_activations`,
    floating point, `[*batch, component?, input_feature]`.

    **Result:** float32 `[component?]`, from -1 to 1; NaN where nothing was seen. A vector with
    $|x| = 0$ or $|y| = 0$ has no direction: it is skipped, and counted by `num_skipped`.

    **Arguments:**

    - `num_components`: size of the component axis; `None` if there is none.
    - `clusters`: what is independent for the error bars: `"items"`, or `"prompts"`, the entries of
        the first batch axis.

    **Raises:** `ValueError` for a `num_components` that is not a positive integer or `None`.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.CosineSimilarity()
        >>> state = metric.update(
        ...     metric.init(),
        ...     source_activations=jnp.array([[2.0, 0.0], [3.0, 4.0], [1.0, 1.0]]),
        ...     decoded_activations=jnp.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]),
        ... )
        >>> print(metric.compute(state), metric.num_skipped(state))
        0.9 1

    ??? note "Differences from other tools"

        SAELens reports it as `cossim`, where one vector of zeros makes the result of a whole run
        NaN. Others put a small number into the denominator, so that a vector of zeros counts as 0.
    """

    num_components: int | None = eqx.field(static=True, default=None)

    def _observe(self, batch: Batch) -> Any:
        both = batch.activations("source_activations", "decoded_activations")
        functions = (product, squared_source, squared_decoded)
        return both.items, *(both.sum_per_vector(function) for function in functions)

    def _of_each(
        self, products: Array, source_squares: Array, decoded_squares: Array
    ) -> tuple[Array, Array]:
        return products, jnp.sqrt(source_squares) * jnp.sqrt(decoded_squares)
