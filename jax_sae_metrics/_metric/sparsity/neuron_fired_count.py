"""How many times each learned feature fired."""

from typing import ClassVar

import equinox as eqx
from jaxtyping import Array, Int

from ..base import AbstractFiringMetric, FiringCounts


class NeuronFiredCount(AbstractFiringMetric):
    r"""Number of activation vectors in which each learned feature is active.

    $$c_i = \sum_{n=1}^{N} \mathbb{1}[f_{ni} > t]$$

    over all unmasked vectors of all batches. Counts are exact to $2^{64} - 1$;
    `state.num_fired.to_numpy()` reads the exact value on the host.

    **Input** of `observe`, `update` and `forward`: `learned_activations`, floating point,
    `[*batch, component?, learned_feature]`, `TopKActivations` or `SparseActivations`.

    **Result:** integer `[component?, learned_feature]`: int64 under x64, else int32, saturating at
    its largest value. 0 where nothing was seen.

    **Arguments:**

    - `num_learned_features`: size of the last axis.
    - `num_components`: size of the component axis; `None` if there is none.
    - `threshold`: a feature fires where its activation is greater than this.
    - `absolute`: whether its absolute value is compared.

    **Raises:** `ValueError` for sizes that are not positive integers or a negative threshold.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.NeuronFiredCount(num_learned_features=3)
        >>> learned_activations = jnp.array([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
        >>> state = metric.update(metric.init(), learned_activations=learned_activations)
        >>> print(metric.compute(state))
        [1 0 1]

    ??? note "Differences from other tools"

        The torch version's `NeuronFiredCountMetric` counts in float32, which stops at 2^24, and
        has no threshold (0 here by default) and no mask.
    """

    threshold: float = eqx.field(static=True, default=0.0)
    absolute: bool = eqx.field(static=True, default=False)
    _axes: ClassVar = {"": ("learned_feature",)}

    def _compute(self, state: FiringCounts) -> Int[Array, "*component learned_feature"]:
        return state.num_fired.to_int()
