"""How much of the variance of the source activations the reconstruction leaves unexplained."""

import equinox as eqx
from jaxtyping import Array, Float32

from .._abstract_metric import AbstractMetric
from .._batch import Batch
from .._configuration import check_num_components, check_size
from .reconstruction_moments import ReconstructionMoments


class _FractionVarianceUnexplainedState(ReconstructionMoments):
    """A type of its own, so that no other metric's state is taken for it."""


class FractionVarianceUnexplained(AbstractMetric[ReconstructionMoments]):
    r"""Portion of the variance of the source activations that the reconstruction misses (FVU).

    With source activations $x$, decoded activations $y$ and the mean $\bar x_d$ of $x_{nd}$ over
    all $N$ unmasked vectors of all batches,

    $$\text{FVU} = \frac{\sum_{n=1}^{N} \sum_d (x_{nd} - y_{nd})^2}
    {\sum_{n=1}^{N} \sum_d (x_{nd} - \bar x_d)^2}.$$

    0 for a perfect reconstruction, 1 for one that always gives the mean. It is 1 minus the pooled
    `ExplainedVariance`, with more digits where that is close to 1.

    **Inputs** of `observe`, `update` and `forward`: `source_activations` and `decoded_activations`,
    floating point, `[*batch, component?, input_feature]`.

    **Result:** float32 `[component?]`, at least 0; NaN where nothing was seen. Where all $x$ are
    the same, NaN if the reconstruction is perfect and infinity if it is not. `standard_error` as
    for the pooled `ExplainedVariance`.

    **Arguments:**

    - `num_input_features`: size of the last axis.
    - `num_components`: size of the component axis; `None` if there is none.

    **Raises:** `ValueError` for sizes that are not positive integers.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.FractionVarianceUnexplained(num_input_features=2)
        >>> state = metric.update(
        ...     metric.init(),
        ...     source_activations=jnp.array([[-1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]),
        ...     decoded_activations=jnp.array([[0.0, 0.0], [0.0, 2.0], [0.5, 1.0]]),
        ... )
        >>> print(metric.compute(state))
        0.3125

    ??? note "Differences from other tools"

        sparsify's FVU, but over all batches: it reports the mean of the FVUs of single batches,
        which is another number where their variances differ.
    """

    num_input_features: int = eqx.field(static=True)
    num_components: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        check_size("num_input_features", self.num_input_features)
        check_num_components(self.num_components)

    def _init(self) -> ReconstructionMoments:
        return _FractionVarianceUnexplainedState.empty(self.num_input_features, self.num_components)

    def _observe(self, batch: Batch) -> ReconstructionMoments:
        return _FractionVarianceUnexplainedState.observe(self, batch)

    def _compute(self, state: ReconstructionMoments) -> Float32[Array, "*component"]:
        return state.fraction_unexplained()

    def _standard_error(self, state: ReconstructionMoments) -> Float32[Array, "*component"]:
        return state.standard_error()
