"""How unevenly each vector of learned activations is spread over features."""

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from ..._inputs import Batch
from ..base import AbstractMeanOfRatios, absolute, square


class HoyerSparsity(AbstractMeanOfRatios):
    r"""Mean over vectors of how few features hold the learned activations: 1 for a single one.

    $$\frac{1}{N} \sum_{n=1}^{N} \frac{\sqrt{F} - \lVert f_n \rVert_1 / \lVert f_n \rVert_2}
    {\sqrt{F} - 1}$$

    over all $N$ unmasked vectors of all batches, with $F$ features. It is 1 where one feature is
    active, 0 where all are, and equally large, and does not change with the scale of the
    activations. `L0Norm` counts an activation of any size; this weighs it.

    **Input** of `observe`, `update` and `forward`: `learned_activations`, floating point,
    `[*batch, component?, learned_feature]`, `TopKActivations` or `SparseActivations`.

    **Result:** float32 `[component?]`, from 0 to 1 up to rounding; NaN where nothing was seen, or
    there is one feature. A vector of zeros has no such number: it is skipped, and counted by
    `num_skipped`.

    **Arguments:**

    - `num_components`: size of the component axis; `None` if there is none.
    - `clusters`: what is independent for the error bars: `"items"`, or `"prompts"`, the entries of
        the first batch axis.

    **Raises:** `ValueError` for a `num_components` that is not a positive integer or `None`.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.HoyerSparsity()
        >>> learned_activations = jnp.array([[3.0, 0.0, 0.0, 0.0], [2.0, 2.0, 2.0, 2.0]])
        >>> state = metric.update(metric.init(), learned_activations=learned_activations)
        >>> print(metric.compute(state))
        0.5

    ??? cite "Reference"

        P. O. Hoyer, [Non-negative Matrix Factorization with Sparseness
        Constraints](https://www.jmlr.org/papers/v5/hoyer04a.html), 2004, section 3.1.
    """

    num_components: int | None = eqx.field(static=True, default=None)

    def _observe(self, batch: Batch) -> Any:
        learned = batch.learned_activations
        root = math.sqrt(learned.num_features)
        return learned.items, learned.sum_per_vector(absolute), learned.sum_per_vector(square), root

    def _of_each(self, sums: Array, squares: Array, root: float) -> tuple[Array, Array]:
        norms = jnp.sqrt(squares)
        return norms * root - sums, norms * (root - 1)
