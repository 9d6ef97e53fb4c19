"""Which portion of the learned features has not fired for a long time."""

import jax.numpy as jnp
from jaxtyping import Array, Float32

from ..base import AbstractFiringAges, FiringAges


class DeadFeatureFraction(AbstractFiringAges):
    r"""Portion of the learned features that have not fired for a number of tokens.

    $$\frac{1}{F} \sum_{i=1}^{F} \mathbb{1}[N - \ell_i \ge \tau]$$

    The number of `DeadFeatures`, which says what the letters mean, divided by that of all features.
    Inputs, arguments and methods are the same.

    **Result:** float32 `[component?]`, or `[component?, after_tokens]` for several numbers of
    tokens, from 0 to 1; 0 where nothing was seen.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.DeadFeatureFraction(num_learned_features=4, after_tokens=2)
        >>> learned_activations = jnp.array([[1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 2.0]])
        >>> state = metric.update(metric.init(), learned_activations=learned_activations)
        >>> print(metric.compute(state))
        0.25
    """

    def _compute(
        self, state: FiringAges
    ) -> Float32[Array, "*component_and_after_tokens"]:
        return self._num_dead(state).astype(jnp.float32) / self.num_learned_features
