"""How much of the source activations is the same in all vectors."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from ..._accumulator import Moments
from ..._arrays import ratio
from ..._core import AbstractMetric
from ..._inputs import Batch


class _OutlierSeverityState(eqx.Module):
    source: Moments


class OutlierSeverity(AbstractMetric[_OutlierSeverityState]):
    r"""How far the source activations are from zero on average, in standard deviations.

    $$\gamma = \frac{\lVert \bar x \rVert}{\lVert \sigma \rVert}, \qquad
    \bar x_d = \frac{1}{N} \sum_{n=1}^{N} x_{nd}, \qquad
    \sigma_d^2 = \frac{1}{N} \sum_{n=1}^{N} (x_{nd} - \bar x_d)^2$$

    over all $N$ unmasked vectors of all batches, $x$ the source activations. Transformers have a
    few massive dimensions, of nearly the same large value in every vector. Where $\gamma$ is above
    1, they dominate what is not centred, such as norms, `NormalizedMSE` and `CosineSimilarity`, and
    many features of a new autoencoder never fire.

    **Input** of `observe`, `update` and `forward`: `source_activations`, floating point,
    `[*batch, component?, input_feature]`.

    **Result:** float32 `[component?]`, at least 0; NaN where nothing was seen, infinity where all
    vectors are the same.

    **Arguments:**

    - `num_input_features`: size of the last axis.
    - `num_components`: size of the component axis; `None` if there is none.

    **Raises:** `ValueError` for sizes that are not positive integers.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.OutlierSeverity(num_input_features=2)
        >>> source_activations = jnp.array([[3.0, 101.0], [-3.0, 93.0]])
        >>> state = metric.update(metric.init(), source_activations=source_activations)
        >>> print(metric.compute(state))
        19.4

    ??? cite "Reference"

        E. Simon et al., [On the Relationship Between Activation Outliers and Feature Death in
        Sparse Autoencoders](https://arxiv.org/abs/2605.31518), 2026. The dimensions: M. Sun et al.,
        [Massive Activations in Large Language Models](https://arxiv.org/abs/2402.17762), 2024.
    """

    num_input_features: int = eqx.field(static=True)
    num_components: int | None = eqx.field(static=True, default=None)

    def _init(self) -> _OutlierSeverityState:
        return _OutlierSeverityState(source=Moments.zeros(self._shape("input_feature")))

    def _observe(self, batch: Batch) -> dict[str, Any]:
        return {"source": batch.activations("source_activations").moments_per_feature(_itself)}

    def _compute(self, state: _OutlierSeverityState) -> Float32[Array, "*component"]:
        squared_mean = jnp.sum(jnp.square(state.source.mean.to_float()), axis=-1)
        variance = jnp.sum(state.source.variance(), axis=-1)
        return ratio(jnp.sqrt(squared_mean), jnp.sqrt(variance))


def _itself(source: Float[Array, ""]) -> Float[Array, ""]:
    return source
