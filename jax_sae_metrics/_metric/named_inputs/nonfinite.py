"""How much of an input is not finite."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..._accumulator import Count
from ..._configuration import check_name
from ..._core import AbstractMetric
from ..._inputs import Batch, Items


class _NonfiniteState(eqx.Module):
    num_nonfinite: Count


class Nonfinite(AbstractMetric[_NonfiniteState]):
    r"""Number of vectors, losses or tokens with a value that is NaN or infinite.

    $$\sum_{n=1}^{N} \mathbb{1}[\text{some entry of } x_n \text{ is not finite}]$$

    over all unmasked items of all batches. Activations and logits are read together with what other
    metrics ask of them. A collection with `finite_only=True` leaves such items out, and this metric
    counts them.

    **Input** of `observe`, `update` and `forward`: the one of the given name. Activations are
    `source_activations`, `decoded_activations`, `true_activations` and `learned_activations`, with
    all their forms; logits and losses of the model are those of `KLDivergenceScore` and
    `ReconstructionScore`. Every other input is numbers of items, as for `MeanOf`. `Renamed` counts
    activations of other names.

    **Result:** integer `[component?]`: int64 under x64, else int32, saturating at its largest
    value. 0 where nothing was seen.

    **Arguments:**

    - `name`: that of the input.
    - `num_components`: size of the component axis; `None` if there is none.

    **Raises:** `ValueError` for a name that is not a string or is empty, or a `num_components` that
    is not a positive integer or `None`.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.Nonfinite("source_activations")
        >>> source_activations = jnp.array([[1.0, jnp.inf], [2.0, 3.0], [jnp.nan, jnp.nan]])
        >>> state = metric.update(metric.init(), source_activations=source_activations)
        >>> print(metric.compute(state))
        2
    """

    name: str = eqx.field(static=True)
    num_components: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        check_name("name", self.name)

    def _init(self) -> _NonfiniteState:
        return _NonfiniteState(Count.zeros(self._shape()))

    def _observe(self, batch: Batch) -> Any:
        batch = batch.with_nonfinite()
        if batch.is_of_activations(self.name):
            is_learned = self.name == "learned_activations"
            of = batch.learned_activations if is_learned else batch.activations(self.name)
            return of.items, of.sum_per_vector(_is_nonfinite)
        if self.name == "source_logits" or self.name.startswith("logits_with_"):
            items, (logits,) = batch.logits(self.name)
            return items, jnp.any(_is_nonfinite(logits), axis=-1)
        if self.name.startswith("source_model_loss"):
            items, (numbers,) = batch.losses(self.name)
        else:
            items, numbers = batch.numbers(self.name)
        return items, _is_nonfinite(numbers)

    def _finish(self, found: tuple[Items, Array]) -> dict[str, Any]:
        items, nonfinite = found
        return {"num_nonfinite": items.only(nonfinite.astype(bool)).count()}

    def _compute(self, state: _NonfiniteState) -> Int[Array, "*component"]:
        return state.num_nonfinite.to_int()


def _is_nonfinite(values: Float[Array, "..."]) -> Bool[Array, "..."]:
    return ~jnp.isfinite(values)
