"""The examples that activate each learned feature most."""

from typing import Any, ClassVar

import equinox as eqx
from jaxtyping import Array

from ..._accumulator import TopExamples
from ..._configuration import check_size
from ..._core import AbstractMetric
from ..._inputs import Batch
from ..base import Above


class _TopActivatingExamplesState(eqx.Module):
    examples: TopExamples


class TopActivatingExamples(AbstractMetric[_TopActivatingExamplesState]):
    r"""The largest activations of each learned feature, and the examples that they were in.

    $$f_{n_1 i} \ge f_{n_2 i} \ge \dots \ge f_{n_k i} > 0$$

    over all unmasked vectors of all batches, $f$ the learned activations. An example is whatever
    the ids name: a token, or a text. An id that comes several times, as that of a text does for
    each of its tokens, may be listed several times.

    **Inputs** of `observe`, `update` and `forward`: `learned_activations`, floating point,
    `[*batch, component?, learned_feature]`, `TopKActivations` or `SparseActivations`; and
    `example_ids`, integer, `[*batch]`, at least 0 and less than $2^{31}$. Larger ids in NumPy
    arrays are an error; JAX, under `jit` and in arrays of its own, cuts them to 32 bits.

    **Result:** a dictionary of `"activations"`, float32, and `"example_ids"`, int32, each
    `[component?, learned_feature, num_examples]`, the largest activation first. Equal ones are in
    the order of their ids. Where a feature fired less often, and where nothing was seen, there is
    minus infinity, and -1 for the example. NaN fires nowhere. float64 activations are rounded to
    float32 before they are compared.

    **Arguments:**

    - `num_learned_features`: size of the last axis.
    - `num_examples`: $k$, how many examples are kept for each feature.
    - `num_components`: size of the component axis; `None` if there is none.

    **Raises:** `ValueError` for sizes that are not positive integers; at trace time `TypeError` for
    ids that are not integers, `ValueError` for ids of another shape, or that int32 cannot hold.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.TopActivatingExamples(num_learned_features=2, num_examples=2)
        >>> state = metric.update(
        ...     metric.init(),
        ...     learned_activations=jnp.array([[1.0, 0.0], [3.0, 0.5], [2.0, 0.0]]),
        ...     example_ids=jnp.array([10, 11, 12]),
        ... )
        >>> for name, value in metric.compute(state).items():
        ...     print(name, value.tolist())
        activations [[3.0, 2.0], [0.5, -inf]]
        example_ids [[11, 12], [11, -1]]
    """

    num_learned_features: int = eqx.field(static=True)
    num_examples: int = eqx.field(static=True)
    num_components: int | None = eqx.field(static=True, default=None)
    _axes: ClassVar = {
        "activations": ("learned_feature", "example"),
        "example_ids": ("learned_feature", "example"),
    }

    def __check_init__(self) -> None:
        check_size("num_examples", self.num_examples)

    def _init(self) -> _TopActivatingExamplesState:
        shape = self._shape("learned_feature")
        return _TopActivatingExamplesState(TopExamples.empty(shape, self.num_examples))

    def _observe(self, batch: Batch) -> dict[str, Any]:
        learned = batch.learned_activations
        ids = batch.integers("example_ids", learned)
        return {"examples": learned.largest_per_feature(Above(0.0), ids, self.num_examples)}

    def _compute(self, state: _TopActivatingExamplesState) -> dict[str, Array]:
        return {"activations": state.examples.values, "example_ids": state.examples.ids}
