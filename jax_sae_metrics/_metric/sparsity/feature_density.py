"""How often each learned feature fires."""

from typing import ClassVar

import equinox as eqx
import jax
from jaxtyping import Array, Float32

from ..._arrays import ratio
from ..base import AbstractFiringMetric, FiringCounts, standard_error_of_portion


class FeatureDensity(AbstractFiringMetric):
    r"""Portion of activation vectors in which each learned feature is active.

    $$d_i = \frac{1}{N} \sum_{n=1}^{N} \mathbb{1}[f_{ni} > t]$$

    over all $N$ unmasked vectors of all batches, $f$ the learned activations and $t$ the threshold.
    Both counts are exact, so that the density does not depend on how the data is cut into batches
    or spread over devices. An activation below the smallest normal float32, 1.2e-38, is zero.

    **Input** of `observe`, `update` and `forward`: `learned_activations`, floating point,
    `[*batch, component?, learned_feature]`, `TopKActivations` or `SparseActivations`.

    **Result:** float32 `[component?, learned_feature]`, from 0 to 1; NaN where nothing was seen.

    **Arguments:**

    - `num_learned_features`: size of the last axis.
    - `num_components`: size of the component axis; `None` if there is none.
    - `threshold`: a feature fires where its activation is greater than this.
    - `absolute`: whether its absolute value is compared.

    **Raises:** `ValueError` for sizes that are not positive integers or a negative threshold.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.FeatureDensity(num_learned_features=3, num_components=1)
        >>> learned_activations = jnp.array([[[1.0, 0.0, 1.0]], [[0.0, 0.0, 0.0]]])
        >>> state = metric.update(metric.init(), learned_activations=learned_activations)
        >>> print(metric.compute(state))
        [[0.5 0.  0.5]]

    ??? note "Differences from other tools"

        The torch version's `FeatureDensityMetric` counts in float32, which stops at 2^24, takes
        the first axis alone for the batch, and has no threshold (0 here by default) and no mask.
        fae counts how often a feature was selected by TopK, whatever its value.
    """

    threshold: float = eqx.field(static=True, default=0.0)
    absolute: bool = eqx.field(static=True, default=False)
    _axes: ClassVar = {"": ("learned_feature",)}

    def _compute(self, state: FiringCounts) -> Float32[Array, "*component learned_feature"]:
        return ratio(*state.floats())

    def _standard_error(self, state: FiringCounts) -> Float32[Array, "*component learned_feature"]:
        of_all = jax.tree.map(lambda words: words[..., None], state.num_activation_vectors)
        return standard_error_of_portion(state.num_fired, of_all)
