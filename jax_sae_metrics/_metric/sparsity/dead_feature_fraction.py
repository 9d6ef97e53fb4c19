"""Which portion of the learned features has not fired for a long time."""

import jax.numpy as jnp
from jaxtyping import Array, Float32

from ..base import AbstractFiringAges, FiringAges


class DeadFeatureFraction(AbstractFiringAges):
    r"""Portion of the learned features that have not fired for a number of tokens.

    $$\frac{1}{F} \sum_{i=1}^{F} \mathbb{1}[N - \ell_i \ge \tau]$$

    after $N$ tokens, where $\ell_i$ is the last one at which feature $i$ fired: the number of
    `DeadFeatures`, divided by that of all features. Its methods are here too: `is_dead`,
    `tokens_since_fired` and `mark_fired`.

    **Input** of `observe`, `update` and `forward`: `learned_activations`, floating point,
    `[*batch, component?, learned_feature]`, `TopKActivations` or `SparseActivations`.

    **Result:** float32 `[component?]`, or `[component?, after_tokens]` for several numbers of
    tokens, from 0 to 1; 0 where nothing was seen.

    **Arguments:**

    - `num_learned_features`: size of the last axis.
    - `num_components`: size of the component axis; `None` if there is none.
    - `after_tokens`: $\tau$, one number of tokens up to $2^{30}$, or several.
    - `threshold`: a feature fires where its activation is greater than this.
    - `absolute`: whether its absolute value is compared.

    **Raises:** `ValueError` for sizes or numbers of tokens that are not positive integers, numbers
    of tokens greater than $2^{30}$, or a negative threshold.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.DeadFeatureFraction(num_learned_features=4, after_tokens=2)
        >>> learned_activations = jnp.array([[1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 2.0]])
        >>> state = metric.update(metric.init(), learned_activations=learned_activations)
        >>> print(metric.compute(state))
        0.25
    """

    def _compute(self, state: FiringAges) -> Float32[Array, "*component_and_after_tokens"]:
        return self._num_dead(state).astype(jnp.float32) / self.num_learned_features
