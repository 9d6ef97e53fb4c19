"""How long the source activations, their reconstructions and the errors are."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from ..._inputs import Batch
from ..base import AbstractMeans, squared_decoded, squared_error, squared_source

_SQUARES = {"source": squared_source, "decoded": squared_decoded, "error": squared_error}


class L2Norm(AbstractMeans):
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
    - `clusters`: what is independent for the error bars: `"items"`, or `"prompts"`, the entries of
        the first batch axis.

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

    _names: ClassVar = tuple(_SQUARES)

    def _observe(self, batch: Batch) -> Any:
        both = batch.activations("source_activations", "decoded_activations")
        return both.items, {name: both.sum_per_vector(f) for name, f in _SQUARES.items()}

    def _of_each(self, square: Array) -> Array:
        return jnp.sqrt(square)
