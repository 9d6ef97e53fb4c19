"""How large the learned activations are against what they encode."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from ..._inputs import Batch
from ..base import AbstractMeanOfRatios, absolute, square


class NormalizedL1(AbstractMeanOfRatios):
    r"""Mean over vectors of the sum of absolute learned activations, relative to the source's norm.

    $$\frac{1}{N} \sum_{n=1}^{N} \frac{\sum_i |f_{ni}|}{\lVert x_n \rVert_2}$$

    over all $N$ unmasked vectors of all batches, $f$ the learned and $x$ the source activations.
    Unlike `L1AbsoluteLoss`, it can be compared between layers whose activations differ in scale.

    **Inputs** of `observe`, `update` and `forward`: `learned_activations`, floating point,
    `[*batch, component?, learned_feature]`, `TopKActivations` or `SparseActivations`; and
    `source_activations`, floating point, `[*batch, component?, input_feature]`.

    **Result:** float32 `[component?]`, at least 0; NaN where nothing was seen. A vector with
    $\lVert x \rVert_2 = 0$ has no such number: it is skipped, and counted by `num_skipped`.

    **Arguments:**

    - `num_components`: size of the component axis; `None` if there is none.
    - `clusters`: what is independent for the error bars: `"items"`, or `"prompts"`, the entries of
        the first batch axis.

    **Raises:** `ValueError` for a `num_components` that is not a positive integer or `None`.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.NormalizedL1()
        >>> state = metric.update(
        ...     metric.init(),
        ...     learned_activations=jnp.array([[5.0, 0.0, 5.0], [0.0, 4.0, 0.0]]),
        ...     source_activations=jnp.array([[3.0, 4.0], [0.0, 2.0]]),
        ... )
        >>> print(metric.compute(state))
        2.0
    """

    num_components: int | None = eqx.field(static=True, default=None)

    def _observe(self, batch: Batch) -> Any:
        learned, source = batch.learned_activations, batch.activations("source_activations")
        return learned.items, learned.sum_per_vector(absolute), source.sum_per_vector(square)

    def _of_each(self, sums: Array, squares: Array) -> tuple[Array, Array]:
        return sums, jnp.sqrt(squares)
