"""How the firing of a dictionary is distributed over its features."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..._arrays import ratio
from ..base import AbstractFiringMetric, FiringCounts

# Where bins begin: at 0, at a number below all other densities, and at each half decade.
_BIN_STARTS = np.array([0.0, 1e-30, *10 ** np.arange(-8, 0, 0.5)], np.float32)


class FeatureDensityStatistics(AbstractFiringMetric):
    r"""How many learned features are dense, rare or dead, and a histogram of their densities.

    $$d_i = \frac{c_i}{N} \qquad c_i = \sum_{n=1}^{N} \mathbb{1}[f_{ni} > t]$$

    over all $N$ unmasked vectors of all batches, $f$ the learned activations and $t$ the threshold:
    the numbers that `FeatureDensity` gives one by one. The counts $c_i$ and $N$ are exact. Up to
    counts of $2^{24}$, comparisons are exact too: a density of 10 in 100 is not above 0.1.

    **Input** of `observe`, `update` and `forward`: `learned_activations`, floating point,
    `[*batch, component?, learned_feature]`, `TopKActivations` or `SparseActivations`.

    **Result:** a dictionary of

    - `"histogram"`: integer `[component?, bin]`, the number of features in each of 18 bins: those
        that never fired, those with $0 < d_i < 10^{-8}$, and then half a decade each,
        $10^{-8 + k/2} \le d_i < 10^{-7.5 + k/2}$ for $k$ from 0 to 15, the last with $d_i = 1$.
        `bin_edges` gives the edges.
    - `"above_1e-1"`, `"above_1e-2"`: integer `[component?]`, the number of features with a density
        greater than that.
    - `"below_1e-5"`, `"below_1e-6"`, `"below_1e-7"`: integer `[component?]`, the number of features
        with a density less than that, those that never fired among them.
    - `"share_of_firing_above_1e-1"`, `"share_of_firing_above_1e-2"`: float32 `[component?]`, the
        portion of all firing that is by features denser than that: $\sum_{i:\, d_i > x} c_i /
        \sum_i c_i$. NaN where nothing fired.
    - `"alive_fraction"`: float32 `[component?]`, the portion of features that ever fired.

    Where nothing was seen, counts are 0 and portions NaN.

    **Arguments:**

    - `num_learned_features`: size of the last axis.
    - `num_components`: size of the component axis; `None` if there is none.
    - `threshold`: a feature fires where its activation is greater than this.
    - `absolute`: whether its absolute value is compared.

    **Raises:** `ValueError` for sizes that are not positive integers or a negative threshold.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.FeatureDensityStatistics(num_learned_features=3)
        >>> learned_activations = jnp.array([[1.0, 0.0, 1.0], [2.0, 0.0, 0.0]])
        >>> state = metric.update(metric.init(), learned_activations=learned_activations)
        >>> value = metric.compute(state)
        >>> print(value["histogram"], value["above_1e-1"], value["below_1e-7"])
        [1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 2] 2 1
        >>> print(round(float(value["alive_fraction"]), 4))
        0.6667

    ??? note "Differences from other tools"

        SAEBench's `freq_over_1_percent` and `freq_over_10_percent` are portions of features:
        `above_1e-2` and `above_1e-1` divided by their number. Its `normalized_freq_over_...` are
        the shares of firing, its `frac_alive` the `alive_fraction`. Tools that plot the logarithm
        of the density plus 1e-10 put features that never fired at -10; here they have a bin.
        Llamascopium's `sparsity/above_1e-1` to `sparsity/below_1e-7` are the numbers here. The
        histogram of fae is of natural logarithms.
    """

    threshold: float = eqx.field(static=True, default=0.0)
    absolute: bool = eqx.field(static=True, default=False)
    _axes: ClassVar = {"histogram": ("bin",)}

    @property
    def bin_edges(self) -> np.ndarray:
        """Where bins begin, as densities, and 1: one number more than there are bins.

        The first bin holds density 0 alone. All others hold the lower edge and not the upper one,
        except for the last, which holds 1 too.
        """
        return np.append(_BIN_STARTS, np.float32(1))

    def _compute(self, state: FiringCounts) -> dict[str, Array]:
        fired, num_vectors = state.floats()
        density = ratio(fired, num_vectors)

        def share_above(threshold: float) -> Array:
            of_dense = jnp.where(density > threshold, fired, jnp.zeros_like(fired))
            return ratio(jnp.sum(of_dense, axis=-1), jnp.sum(fired, axis=-1))

        num_fired = _num_true(fired > 0)
        num_features = jnp.where(num_vectors[..., 0] > 0, jnp.float32(self.num_learned_features), 0)
        return {
            "histogram": _histogram(density),
            "above_1e-1": _num_true(density > 1e-1),
            "above_1e-2": _num_true(density > 1e-2),
            "below_1e-5": _num_true(density < 1e-5),
            "below_1e-6": _num_true(density < 1e-6),
            "below_1e-7": _num_true(density < 1e-7),
            "share_of_firing_above_1e-1": share_above(1e-1),
            "share_of_firing_above_1e-2": share_above(1e-2),
            "alive_fraction": ratio(num_fired.astype(jnp.float32), num_features),
        }


def _num_true(is_true: Array) -> Array:
    return jnp.sum(is_true, axis=-1, dtype=int)


def _histogram(density: Array) -> Array:
    # Compared one by one: neither jnp.histogram nor searchsorted takes sharded densities.
    num_from = jnp.stack([_num_true(density >= start) for start in _BIN_STARTS], axis=-1)
    return -jnp.diff(num_from, axis=-1, append=jnp.zeros_like(num_from[..., :1]))
