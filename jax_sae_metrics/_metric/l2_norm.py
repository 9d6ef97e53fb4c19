"""How long the source activations, their reconstructions and the errors are."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float32

from .._abstract_metric import AbstractMetric
from .._batch import Batch
from .._configuration import check_num_components
from .._functions import squared_decoded, squared_error, squared_source
from .mean import Mean


class _L2NormState(eqx.Module):
    source: Mean
    decoded: Mean
    error: Mean


class L2Norm(AbstractMetric[_L2NormState]):
    r"""Mean norms of the source activations, the decoded activations, and their difference.

    $$\frac{1}{N} \sum_{n=1}^{N} |x_n| \qquad \frac{1}{N} \sum_{n=1}^{N} |y_n| \qquad
    \frac{1}{N} \sum_{n=1}^{N} |x_n - y_n|$$

    over all $N$ unmasked vectors of all batches, $x$ the source and $y$ the decoded activations.

    **Inputs** of `observe`, `update` and `forward`: `source_activations` and `decoded_activations`,
    floating point, `[*batch, component?, input_feature]`.

    **Result:** a dictionary of `source`, `decoded` and `error`, each float32 `[component?]`, in
    units of the activations; NaN where nothing was seen.

    **Arguments:**

    - `num_components`: size of the component axis; `None` if there is none.

    **Raises:** `ValueError` for a `num_components` that is not a positive integer or `None`.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.L2Norm()
        >>> state = metric.update(
        ...     metric.init(),
        ...     source_activations=jnp.array([[2.0, 0.0], [0.0, 4.0]]),
        ...     decoded_activations=jnp.array([[0.0, 0.0], [3.0, 4.0]]),
        ... )
        >>> {name: float(value) for name, value in metric.compute(state).items()}
        {'source': 3.0, 'decoded': 2.5, 'error': 2.5}

    ??? note "Differences from other tools"

        SAELens reports the first two, as `l2_norm_in` and `l2_norm_out`.
    """

    num_components: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        check_num_components(self.num_components)

    def _init(self) -> _L2NormState:
        return _L2NormState(*(Mean.empty(self.num_components) for _ in range(3)))

    def _observe(self, batch: Batch) -> _L2NormState:
        both = batch.activations(self, "source_activations", "decoded_activations")
        squares = (squared_source, squared_decoded, squared_error)
        norms = (jnp.sqrt(both.sum_per_vector(square)) for square in squares)
        return _L2NormState(*(Mean.observe(both.items, norm) for norm in norms))

    def _compute(self, state: _L2NormState) -> dict[str, Float32[Array, "*component"]]:
        return {name: mean.value() for name, mean in vars(state).items()}

    def _standard_error(self, state: _L2NormState) -> dict[str, Float32[Array, "*component"]]:
        return {name: mean.standard_error() for name, mean in vars(state).items()}
