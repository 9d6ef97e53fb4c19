"""How much of the variance of the source activations the reconstruction leaves unexplained."""

from jaxtyping import Array, Float32

from .reconstruction_moments import AbstractVarianceMetric, ReconstructionMoments


class FractionVarianceUnexplained(AbstractVarianceMetric):
    r"""Portion of the variance of the source activations that the reconstruction misses (FVU).

    With source activations $x$, decoded activations $y$ and the mean $\bar x_d$ of $x_{nd}$ over
    all $N$ unmasked vectors of all batches,

    $$\text{FVU} = \frac{\sum_{n=1}^{N} \sum_d (x_{nd} - y_{nd})^2}
    {\sum_{n=1}^{N} \sum_d (x_{nd} - \bar x_d)^2}.$$

    It is 0 for a perfect reconstruction, and 1 for one that always gives the mean. It is 1 minus
    the pooled `ExplainedVariance`, with more digits where that is close to 1.

    **Inputs** of `observe`, `update` and `forward`: `source_activations` and `decoded_activations`,
    floating point, `[*batch, component?, input_feature]`; and if you like `source_mean`, as for
    `ExplainedVariance`.

    **Result:** float32 `[component?]`, at least 0; NaN where nothing was seen. Where all $x$ are
    the same, NaN if the reconstruction is perfect and infinity if it is not. `standard_error` is as
    for the pooled `ExplainedVariance`.

    **Arguments:**

    - `num_input_features`: size of the last axis.
    - `num_components`: size of the component axis; `None` if there is none.
    - `clusters`: what is independent for the error bars: `"items"`, or `"prompts"`, the entries of
        the first batch axis.

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
        >>> print(f"{metric.compute(state):.4f}")
        0.3125

    ??? note "Differences from other tools"

        This is sparsify's FVU, but over all batches. sparsify reports the mean of the FVUs of
        single batches, which is another number where their variances differ, and divides what it
        logs by its logging frequency. `fvu` of fae is of standardised vectors, and not centred.
    """

    def _compute(self, state: ReconstructionMoments) -> Float32[Array, "*component"]:
        return state.fraction_unexplained()
