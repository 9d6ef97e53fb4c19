"""The mean of any input."""

from typing import Any

import equinox as eqx

from ..._configuration import check_name
from ..._inputs import Batch
from ..base import AbstractMean


class MeanOf(AbstractMean):
    r"""Mean of any numbers that are given by name: auxiliary losses, gradient norms, rewards.

    $$\frac{1}{N} \sum_{n=1}^{N} a_n$$

    over all $N$ unmasked numbers of all batches. A scalar is one number, and no mask applies to it:
    the mean is then over calls.

    **Input** of `observe`, `update` and `forward`: one of the given name, floating point,
    `[*items, component?]` or a scalar. With components, a scalar is the same for all, and
    `[component]` has one number for each. Items are masked by `mask` or `loss_mask`, whichever has
    their shape (`mask` if both have).

    **Result:** float32 `[component?]`, in units of the input; NaN where nothing was seen.

    **Arguments:**

    - `name`: that of the input.
    - `num_components`: size of the component axis; `None` if there is none.
    - `clusters`: what is independent for the error bars: `"items"`, or `"prompts"`, the entries of
        the first batch axis.

    **Raises:** `ValueError` for a name that is not a string or is empty, or a `num_components` that
    is not a positive integer or `None`.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.MeanOf("gradient_norm")
        >>> state = metric.init()
        >>> for gradient_norm in (jnp.float32(3.0), jnp.float32(5.0)):
        ...     state = metric.update(state, gradient_norm=gradient_norm)
        >>> print(metric.compute(state), metric.standard_error(state))
        4.0 1.0

    ??? note "Differences from other tools"

        `clu.metrics.Average` and `flax.nnx.metrics.Average` keep plain float32 sums, and no error.
    """

    name: str = eqx.field(static=True)
    num_components: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        check_name("name", self.name)

    def _observe(self, batch: Batch) -> Any:
        return batch.numbers(self.name)
