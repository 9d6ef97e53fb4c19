"""The squared error of the reconstruction, relative to the size of each vector."""

from typing import Any

import equinox as eqx
from jaxtyping import Array

from ..._inputs import Batch
from ..base import AbstractMeanOfRatios, squared_error, squared_source


class NormalizedMSE(AbstractMeanOfRatios):
    r"""Mean over vectors of the squared error, each relative to its squared norm.

    $$\frac{1}{N} \sum_{n=1}^{N} \frac{|x_n - y_n|^2}{|x_n|^2}$$

    over all $N$ unmasked vectors of all batches, $x$ the source and $y$ the decoded activations. It
    is 1 for a reconstruction of zeros.

    **Inputs** of `observe`, `update` and `forward`: `source_activations` and `decoded_activations`,
    floating point, `[*batch, component?, input_feature]`.

    **Result:** float32 `[component?]`, at least 0; NaN where nothing was seen. A vector with
    $|x| = 0$ has no such number: it is skipped, and counted by `num_skipped`.

    **Arguments:**

    - `num_components`: size of the component axis; `None` if there is none.
    - `clusters`: what is independent for the error bars: `"items"`, or `"prompts"`, the entries of
        the first batch axis.

    **Raises:** `ValueError` for a `num_components` that is not a positive integer or `None`.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.NormalizedMSE()
        >>> state = metric.update(
        ...     metric.init(),
        ...     source_activations=jnp.array([[2.0, 0.0], [0.0, 4.0], [0.0, 0.0]]),
        ...     decoded_activations=jnp.array([[2.0, 1.0], [0.0, 3.0], [1.0, 1.0]]),
        ... )
        >>> print(metric.compute(state), metric.num_skipped(state))
        0.15625 1

    ??? note "Differences from other tools"

        This is the reconstruction term of OpenAI's `sparse_autoencoder` loss; a vector of zeros
        makes that NaN or infinite. Their paper's normalized MSE is relative to the error of always
        giving the mean instead, which is `FractionVarianceUnexplained`. `normalized_mse` of
        activation-extract divides by the variance of all entries: it is 1 minus the explained
        variance with `definition="scalar_mean"`.

    ??? cite "Reference"

        L. Gao et al., [Scaling and evaluating sparse
        autoencoders](https://arxiv.org/abs/2406.04093), 2024.
    """

    num_components: int | None = eqx.field(static=True, default=None)

    def _observe(self, batch: Batch) -> Any:
        both = batch.activations("source_activations", "decoded_activations")
        return both.items, both.sum_per_vector(squared_error), both.sum_per_vector(squared_source)

    def _of_each(self, errors: Array, source_squares: Array) -> tuple[Array, Array]:
        return errors, source_squares
