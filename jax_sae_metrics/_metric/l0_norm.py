"""How many learned features are active at once."""

import equinox as eqx
from jaxtyping import Array, Float32, Int32

from .._abstract_metric import AbstractMetric
from .._accumulator import Count, ratio
from .._batch import Batch
from .._configuration import check_num_components, component_shape
from .._functions import is_nonzero


class _L0NormState(eqx.Module):
    num_nonzero: Count | Int32[Array, "*component"]
    num_activation_vectors: Count | Int32[Array, "*component"]


class L0Norm(AbstractMetric[_L0NormState]):
    r"""Mean number of nonzero learned activations per activation vector.

    $$\ell_0 = \frac{1}{N} \sum_{n=1}^{N} \sum_i \mathbb{1}[f_{ni} \ne 0]$$

    over all $N$ unmasked vectors of all batches. Both counts are exact, as long as one batch has
    fewer than $2^{32}$ nonzero activations per component and device.

    **Input** of `observe`, `update` and `forward`: `learned_activations`, floating point,
    `[*batch, component?, learned_feature]`, or `TopKActivations`.

    **Result:** float32 `[component?]`, in features; NaN where nothing was seen.

    **Arguments:**

    - `num_components`: size of the component axis; `None` if there is none.

    **Raises:** `ValueError` for a `num_components` that is not a positive integer or `None`.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.L0Norm()
        >>> learned_activations = jnp.array([[1.0, 0.0, 1.0], [0.0, -2.0, 0.0]])
        >>> state = metric.update(metric.init(), learned_activations=learned_activations)
        >>> print(metric.compute(state))
        1.5

    ??? note "Differences from other tools"

        Nonzero, not positive: a negative activation counts here (as in the torch version's
        `L0NormMetric` and in SAELens) but does not make a feature fire in `FeatureDensity`. So does
        NaN, which is not zero. The torch version sums in float32.
    """

    num_components: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        check_num_components(self.num_components)

    def _init(self) -> _L0NormState:
        components = component_shape(self.num_components)
        return _L0NormState(
            num_nonzero=Count.zeros(components), num_activation_vectors=Count.zeros(components)
        )

    def _observe(self, batch: Batch) -> _L0NormState:
        learned = batch.learned_activations(self)
        return _L0NormState(
            num_nonzero=learned.sum(is_nonzero), num_activation_vectors=learned.items.count()
        )

    def _compute(self, state: _L0NormState) -> Float32[Array, "*component"]:
        return ratio(state.num_nonzero.to_float(), state.num_activation_vectors.to_float())
