"""How many learned features are active at once."""

from typing import Any

import equinox as eqx

from ..._configuration import check_between, check_flag
from ..._inputs import Batch
from ..base import AbstractMean, activity_test


class L0Norm(AbstractMean):
    r"""Mean number of nonzero learned activations per activation vector.

    $$\ell_0 = \frac{1}{N} \sum_{n=1}^{N} \sum_i \mathbb{1}[f_{ni} \ne 0]$$

    over all $N$ unmasked vectors of all batches. With a threshold $t$, activations with
    $|f_{ni}| > t$ count, or with $f_{ni} > t$ if not `absolute`. An activation below the smallest
    normal float32, 1.2e-38, is zero.

    **Input** of `observe`, `update` and `forward`: `learned_activations`, floating point,
    `[*batch, component?, learned_feature]`, `TopKActivations` or `SparseActivations`.

    **Result:** float32 `[component?]`, in features; NaN where nothing was seen.

    **Arguments:**

    - `num_components`: size of the component axis; `None` if there is none.
    - `threshold`: an activation counts if it is beyond this.
    - `absolute`: whether the absolute value is compared with the threshold (AbsTopK), or the
        activation itself, so that negative ones do not count.
    - `clusters`: what is independent for the error bars: `"items"`, or `"prompts"`, the entries of
        the first batch axis.

    **Raises:** `ValueError` for a `num_components` that is not a positive integer or `None`, or a
    negative threshold.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.L0Norm()
        >>> learned_activations = jnp.array([[1.0, 0.0, 1.0], [0.0, -2.0, 0.0]])
        >>> state = metric.update(metric.init(), learned_activations=learned_activations)
        >>> print(metric.compute(state))
        1.5

    ??? note "Differences from other tools"

        A negative activation counts here (as in the torch version's `L0NormMetric` and in SAELens)
        but does not make a feature fire in `FeatureDensity`. NaN counts too, since it is not zero.
        The torch version sums in float32. Llamascopium counts positive activations only
        (`absolute=False`). `l0` of saex is a moving average over steps.
    """

    num_components: int | None = eqx.field(static=True, default=None)
    threshold: float = eqx.field(static=True, default=0.0)
    absolute: bool = eqx.field(static=True, default=True)

    def __check_init__(self) -> None:
        check_between("threshold", self.threshold, 0.0)
        check_flag("absolute", self.absolute)

    def _observe(self, batch: Batch) -> Any:
        learned = batch.learned_activations
        return learned.items, learned.sum_per_vector(activity_test(self.threshold, self.absolute))
