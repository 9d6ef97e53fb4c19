"""How well each learned feature detects a true one."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32

from ..._accumulator import Count
from ..._arrays import ratio
from ..._core import AbstractMetric
from ..._inputs import Batch
from ..base import Above, is_nonzero


class _LatentClassificationState(eqx.Module):
    num_true_positives: Count
    num_false_positives: Count
    num_false_negatives: Count
    num_activation_vectors: Count


class LatentClassification(AbstractMetric[_LatentClassificationState]):
    r"""Precision, recall, F1 and accuracy of learned features as detectors of true ones.

    A learned feature says yes where its activation is not zero. It is right if the true feature
    that it stands for has a positive activation there. With the counts of true and false positives
    $\text{tp}, \text{fp}$ and false negatives $\text{fn}$ among all $N$ unmasked vectors of all
    batches, the means over the $F$ learned features are

    $$\text{precision} = \frac{1}{F} \sum_i \frac{\text{tp}_i}{\text{tp}_i + \text{fp}_i},
    \qquad \text{recall} = \frac{1}{F} \sum_i \frac{\text{tp}_i}{\text{tp}_i + \text{fn}_i},$$

    $$\text{F1} = \frac{1}{F} \sum_i
    \frac{2\,\text{tp}_i}{2\,\text{tp}_i + \text{fp}_i + \text{fn}_i},
    \qquad \text{accuracy} = \frac{1}{F} \sum_i \frac{N - \text{fp}_i - \text{fn}_i}{N}.$$

    0 / 0 counts as 0: the precision of a dead feature, and the recall of one whose true feature
    never occurs. The counts are exact, so that the result does not depend on how the data is cut
    into batches or spread over devices.

    **Inputs** of `observe`, `update` and `forward`: `learned_activations` and `true_activations`,
    floating point, `[*batch, component?, learned_feature]`. Both are arrays, not `TopKActivations`.
    For each learned feature, `true_activations` has the activations of the true feature that it
    stands for. To select them from the activations of all true features, use
    `jnp.take(true_activations, jsm.best_matching_features(learned, true), axis=-1)`.

    **Result:** a dictionary of `precision`, `recall`, `f1` and `accuracy`, each float32
    `[component?]`, from 0 to 1; NaN where nothing was seen.

    **Arguments:**

    - `num_learned_features`: size of the last axis.
    - `num_components`: size of the component axis; `None` if there is none.

    **Raises:** `ValueError` for sizes that are not positive integers.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.LatentClassification(num_learned_features=2)
        >>> state = metric.update(
        ...     metric.init(),
        ...     learned_activations=jnp.array([[1.0, 0.0], [1.0, 3.0], [0.0, 0.0], [1.0, 0.0]]),
        ...     true_activations=jnp.array([[2.0, 0.0], [1.0, 1.0], [0.0, 0.0], [0.0, 2.0]]),
        ... )
        >>> print({name: round(float(value), 3) for name, value in metric.compute(state).items()})
        {'precision': 0.833, 'recall': 0.75, 'f1': 0.733, 'accuracy': 0.75}

    ??? cite "Reference"

        D. Chanin et al., [SynthSAEBench](https://arxiv.org/abs/2602.14687), 2026.

    ??? note "Differences from other tools"

        SAELens 6.54 gives the same values. It chooses the true feature by itself, counts in
        float32, which stops at 2^24, has no mask and gives 0 where nothing was seen. Here as there,
        a negative learned activation is a yes (and so is NaN, which is not zero).
    """

    num_learned_features: int = eqx.field(static=True)
    num_components: int | None = eqx.field(static=True, default=None)

    def _init(self) -> _LatentClassificationState:
        shape = self._shape("learned_feature")
        return _LatentClassificationState(
            num_true_positives=Count.zeros(shape),
            num_false_positives=Count.zeros(shape),
            num_false_negatives=Count.zeros(shape),
            num_activation_vectors=Count.zeros(self._shape()),
        )

    def _observe(self, batch: Batch) -> dict[str, Any]:
        both = batch.activations("learned_activations", "true_activations")
        return {
            "num_true_positives": both.sum_per_feature(_is_true_positive),
            "num_false_positives": both.sum_per_feature(_is_false_positive),
            "num_false_negatives": both.sum_per_feature(_is_false_negative),
            "num_activation_vectors": both.items.count(),
        }

    def _compute(
        self, state: _LatentClassificationState
    ) -> dict[str, Float32[Array, "*component"]]:
        hits = state.num_true_positives.to_float()
        false_alarms = state.num_false_positives.to_float()
        misses = state.num_false_negatives.to_float()
        num_vectors = state.num_activation_vectors.to_float()[..., None]
        undefined = jnp.where(num_vectors > 0, jnp.float32(0), jnp.nan)

        def mean_ratio(
            part: Float32[Array, "*component learned_feature"],
            whole: Float32[Array, "*#component_and_learned_feature"],
        ) -> Float32[Array, "*component"]:
            return jnp.mean(jnp.where(whole > 0, ratio(part, whole), undefined), axis=-1)

        return {
            "precision": mean_ratio(hits, hits + false_alarms),
            "recall": mean_ratio(hits, hits + misses),
            "f1": mean_ratio(2 * hits, 2 * hits + false_alarms + misses),
            "accuracy": mean_ratio(num_vectors - false_alarms - misses, num_vectors),
        }


_is_positive = Above(0.0)


def _is_true_positive(learned: Float[Array, ""], true: Float[Array, ""]) -> Bool[Array, ""]:
    return is_nonzero(learned) & _is_positive(true)


def _is_false_positive(learned: Float[Array, ""], true: Float[Array, ""]) -> Bool[Array, ""]:
    return is_nonzero(learned) & ~_is_positive(true)


def _is_false_negative(learned: Float[Array, ""], true: Float[Array, ""]) -> Bool[Array, ""]:
    return ~is_nonzero(learned) & _is_positive(true)
