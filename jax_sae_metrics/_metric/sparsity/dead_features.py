"""How many learned features have not fired for a long time."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Int, Int32

from ..._accumulator import MAX_AGE, LastSeen
from ..._arrays import as_boolean
from ..._configuration import ONLY_READS, as_tuple, check_in_order, check_size
from ..._core import AbstractMetric, State
from ..._inputs import Batch
from ..base import Above


def _one_or_several(values: Any) -> tuple[Any, ...]:
    values = as_tuple(values)
    return values if isinstance(values, tuple) else (values,)


class _DeadFeaturesState(eqx.Module):
    last_fired: LastSeen


class DeadFeatures(AbstractMetric[_DeadFeaturesState]):
    r"""Number of learned features that have not fired for a number of tokens.

    $$\sum_i \mathbb{1}[N - \ell_i \ge \tau] \qquad
    \ell_i = \max\, (\{0\} \cup \{n : f_{ni} > 0\})$$

    after $N$ tokens, which are the unmasked vectors of all batches in order. $\ell_i$ is the last
    token at which feature $i$ fired. A feature that never fired is as old as the whole run. The
    position within a batch counts, so that the result does not depend on how the data is cut into
    batches. `all_reduce` assumes that the devices went through their tokens side by side.

    With `axis_name`, and under `jit` with sharded arrays, the tokens of all devices count, in the
    order of the whole batch.

    **Input** of `observe`, `update` and `forward`: `learned_activations`, floating point,
    `[*batch, component?, learned_feature]`, or `TopKActivations`.

    **Result:** integer `[component?, threshold]`, int64 under x64 and else int32;
    0 where nothing was seen. `tokens_since_fired` gives the age of each feature.

    **Arguments:**

    - `num_learned_features`: size of the last axis.
    - `num_components`: size of the component axis; `None` if there is none.
    - `thresholds`: one number of tokens up to $2^{30}$, or several. A feature is dead if it has not
        fired for at least this number.

    **Raises:** `ValueError` for sizes or thresholds that are not positive integers, or thresholds
    greater than $2^{30}$.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.DeadFeatures(num_learned_features=3, thresholds=(1, 2))
        >>> learned_activations = jnp.array([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
        >>> state = metric.update(metric.init(), learned_activations=learned_activations)
        >>> print(metric.compute(state), metric.tokens_since_fired(state))
        [2 1] [0 2 1]

    ??? note "Differences from other tools"

        `NeuronActivity` counts features that fired too rarely since the state was initialised.
        dictionary_learning and sparsify restart at 0 at the end of a batch in which a feature
        fired, at whatever position. Other trainers, among them saex, fae and activation-extract,
        count steps. On several devices, sparsify counts the tokens of one device ([issue
        119](https://github.com/EleutherAI/sparsify/issues/119)). With its `multi_topk`, the 4k
        largest activations of a vector count as fired, where the reconstruction is from k.

    ??? cite "Reference"

        L. Gao et al., [Scaling and evaluating sparse
        autoencoders](https://arxiv.org/abs/2406.04093), 2024. There, a feature is dead if it has
        not fired for 10 million tokens, the default here. (Their code counts steps of a batch, and
        activations above 1e-3.)
    """

    num_learned_features: int = eqx.field(static=True)
    num_components: int | None = eqx.field(static=True, default=None)
    thresholds: tuple[int, ...] = eqx.field(
        static=True, converter=_one_or_several, default=(10_000_000,), metadata={ONLY_READS: True}
    )

    def __check_init__(self) -> None:
        check_in_order("thresholds", self.thresholds)
        for threshold in self.thresholds:
            check_size("thresholds", threshold)
            if threshold > MAX_AGE:
                raise ValueError(
                    f"thresholds: expected at most 2**30 tokens, where ages end, got {threshold}."
                )

    def tokens_since_fired(
        self, state: State[_DeadFeaturesState]
    ) -> Int32[Array, "*component learned_feature"]:
        """Return how many tokens ago each feature last fired, up to 2^30; 0 if at the last token.

        Use it to resample the features that are dead. One that never fired is as old as the run.
        """
        state = self._check(state)
        return state.accumulators.last_fired.age()

    def mark_fired(
        self, state: State[_DeadFeaturesState], features: ArrayLike
    ) -> State[_DeadFeaturesState]:
        """Return a state in which these features fired at the last token, whether they did or not.

        Use it for features that were resampled: they then get as much time as any other.

        **Raises:** `TypeError` unless `features` is boolean, `ValueError` unless it has the shape
        `[component?, learned_feature]`.
        """
        state = self._check(state)
        marks = as_boolean("features", features, "marks a feature")
        last_fired = state.accumulators.last_fired
        shape = last_fired.position.shape
        if marks.shape != shape:
            raise ValueError(
                f"features: expected shape {shape}, True for each feature to mark, got "
                f"{marks.shape}."
            )
        marked = _DeadFeaturesState(last_fired=last_fired.happened(marks))
        return State(state.counted_by, marked)

    def _init(self) -> _DeadFeaturesState:
        return _DeadFeaturesState(last_fired=LastSeen.zeros(self._shape("learned_feature")))

    def _observe(self, batch: Batch) -> dict[str, Any]:
        return {"last_fired": batch.learned_activations.last_per_feature(Above(0.0))}

    def _compute(self, state: _DeadFeaturesState) -> Int[Array, "*component threshold"]:
        age = state.last_fired.age()
        counts = [jnp.sum(age >= threshold, axis=-1, dtype=int) for threshold in self.thresholds]
        return jnp.stack(counts, axis=-1)
