"""How many learned features are dead."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Int

from ..._configuration import ONLY_READS, check_between
from ..base import AbstractFiringMetric, FiringCounts


class NeuronActivity(AbstractFiringMetric):
    r"""Number of dead learned features: those that fired in too small a portion of the vectors.

    $$\sum_i \mathbb{1}[c_i \le p N], \qquad c_i = \sum_{n=1}^{N} \mathbb{1}[f_{ni} > t]$$

    over all $N$ unmasked vectors since the state was initialised, $f$ the learned activations, $t$
    the threshold and $p$ the portion. The counts are exact; $p N$ is taken in float32, as in the
    torch version.

    **Input** of `observe`, `update` and `forward`: `learned_activations`, floating point,
    `[*batch, component?, learned_feature]`, `TopKActivations` or `SparseActivations`.

    **Result:** integer `[component?]`, int64 under x64 and else int32. 0 where nothing was seen,
    since no feature has then had a chance to fire.

    **Arguments:**

    - `num_learned_features`: size of the last axis.
    - `num_components`: size of the component axis; `None` if there is none.
    - `threshold_is_dead_portion_fires`: from 0 to 1. A feature is dead if it fires in at most this
        portion of the vectors. Common values are 0, 1e-6 and 1e-5.
    - `threshold`: a feature fires where its activation is greater than this.
    - `absolute`: whether its absolute value is compared.

    **Raises:** `ValueError` for sizes that are not positive integers a portion outside [0, 1],
    or a negative threshold.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.NeuronActivity(num_learned_features=3)
        >>> learned_activations = jnp.array([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
        >>> state = metric.update(metric.init(), learned_activations=learned_activations)
        >>> print(metric.compute(state))
        1

    ??? note "Differences from other tools"

        The torch version's `NeuronActivityMetric` calls every feature dead before the first batch.
        OpenAI's and EleutherAI's trainers mean something else by dead: no firing during a given
        number of most recent tokens.
    """

    threshold_is_dead_portion_fires: float = eqx.field(
        static=True, default=0.0, metadata={ONLY_READS: True}
    )
    threshold: float = eqx.field(static=True, default=0.0)
    absolute: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        portion = self.threshold_is_dead_portion_fires
        check_between("threshold_is_dead_portion_fires", portion, 0.0, 1.0)

    def _compute(self, state: FiringCounts) -> Int[Array, "*component"]:
        num_fired, num_vectors = state.floats()
        fires_too_rarely = num_fired <= self.threshold_is_dead_portion_fires * num_vectors
        return jnp.sum(fires_too_rarely & (num_vectors > 0), axis=-1, dtype=int)
