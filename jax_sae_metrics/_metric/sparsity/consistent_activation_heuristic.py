"""How often a learned feature fires in the prompts in which it fires at all."""

from typing import Any, ClassVar

import equinox as eqx
from jaxtyping import Array, Float32

from ..._accumulator import Count
from ..._arrays import ratio
from ..._inputs import Batch
from ..base import AbstractFiring


class _ConsistentActivationHeuristicState(eqx.Module):
    num_fired: Count
    num_prompts: Count


class ConsistentActivationHeuristic(AbstractFiring[_ConsistentActivationHeuristicState]):
    r"""Number of tokens that each learned feature fires on, per prompt that it fires in.

    $$\frac{\sum_p \sum_t \mathbb{1}[f_{pti} > \theta]}
    {\sum_p \mathbb{1}[\max_t f_{pti} > \theta]}$$

    over all prompts $p$ of all batches and their unmasked tokens $t$, $f$ the learned activations
    and $\theta$ the threshold. It is near 1 for a feature of single tokens, and high for one that
    stays on. Both counts are exact. Pass whole prompts: one that is cut in two, between batches or
    over devices, counts as two.

    **Input** of `observe`, `update` and `forward`: `learned_activations`, floating point,
    `[prompt, token, component?, learned_feature]`, `TopKActivations` or `SparseActivations`.

    **Result:** float32 `[component?, learned_feature]`, in tokens, at least 1; NaN where the
    feature never fired.

    **Arguments:**

    - `num_learned_features`: size of the last axis.
    - `num_components`: size of the component axis; `None` if there is none.
    - `threshold`: a feature fires where its activation is greater than this.
    - `absolute`: whether its absolute value is compared.

    **Raises:** `ValueError` for sizes that are not positive integers, a negative threshold, or
    activations without a prompt and a token axis.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.ConsistentActivationHeuristic(num_learned_features=3)
        >>> learned_activations = jnp.array(
        ...     [[[1.0, 0.0, 1.0], [2.0, 0.0, 0.0]], [[3.0, 0.0, 1.0], [0.0, 0.0, 0.0]]]
        ... )
        >>> state = metric.update(metric.init(), learned_activations=learned_activations)
        >>> print(metric.compute(state))
        [1.5 nan 1. ]

    ??? note "Differences from other tools"

        SAELens gives the same value if no activation is negative. It counts activations that are
        not 0, in float32 (to 2^24), and has no threshold and no component axis.

    ??? cite "Reference"

        SAELens, [evals.py](https://github.com/decoderesearch/SAELens/blob/main/sae_lens/evals.py),
        `consistent_activation_heuristic`.
    """

    num_learned_features: int = eqx.field(static=True)
    num_components: int | None = eqx.field(static=True, default=None)
    threshold: float = eqx.field(static=True, default=0.0)
    absolute: bool = eqx.field(static=True, default=False)
    _axes: ClassVar = {"": ("learned_feature",)}

    def _init(self) -> _ConsistentActivationHeuristicState:
        shape = self._shape("learned_feature")
        return _ConsistentActivationHeuristicState(Count.zeros(shape), Count.zeros(shape))

    def _observe(self, batch: Batch) -> dict[str, Any]:
        learned = batch.learned_activations
        if len(learned.items.shape) != 2:
            raise ValueError(
                "learned_activations: ConsistentActivationHeuristic expects exactly two batch "
                f"axes, [prompt, token, component?, feature], got batch axes {learned.items.shape}."
                " Reshape them, and the mask: the metric must know which tokens form a prompt."
            )
        return {
            "num_fired": learned.sum_per_feature(self._fires),
            "num_prompts": learned.prompts_per_feature(self._fires),
        }

    def _compute(
        self, state: _ConsistentActivationHeuristicState
    ) -> Float32[Array, "*component learned_feature"]:
        return ratio(state.num_fired.to_float(), state.num_prompts.to_float())
