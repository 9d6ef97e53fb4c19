"""The largest and the smallest of any input."""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float32

from ..._accumulator import Count, Maximum, MaximumRecord
from ..._configuration import check_name
from ..._core import AbstractMetric
from ..._inputs import Batch, Items


class _ExtremumState(eqx.Module):
    # The largest number times the sign.
    largest: Maximum
    # A maximum over devices may leave NaN out, and a NaN must show.
    num_nan: Count


class _AbstractExtremum(AbstractMetric[_ExtremumState]):
    """The largest of the numbers of one input, or of the negated ones."""

    name: str = eqx.field(static=True)
    num_components: int | None = eqx.field(static=True, default=None)

    @property
    @abc.abstractmethod
    def _sign(self) -> float:
        """1 for the largest, -1 for the smallest."""

    def __check_init__(self) -> None:
        check_name("name", self.name)

    def _init(self) -> _ExtremumState:
        return _ExtremumState(Maximum.empty(self._shape()), Count.zeros(self._shape()))

    def _observe(self, batch: Batch) -> Any:
        return batch.numbers(self.name)

    def _finish(self, found: tuple[Items, Array]) -> dict[str, Any]:
        items, numbers = found
        counts = items.only(~jnp.isnan(numbers))
        signed = jnp.where(counts.everywhere(), self._sign * numbers.astype(jnp.float32), -jnp.inf)
        return {
            "largest": MaximumRecord(jnp.max(signed, items.axes, initial=-jnp.inf)),
            "num_nan": items.only(jnp.isnan(numbers)).count(),
        }

    def _compute(self, state: _ExtremumState) -> Float32[Array, "*component"]:
        is_known = state.num_nan.to_float() == 0
        return jnp.where(is_known, self._sign * state.largest.to_float(), jnp.float32(jnp.nan))


class MaxOf(_AbstractExtremum):
    r"""Largest of any numbers that are given by name, such as gradient norms.

    $$\max_{n=1}^{N} a_n$$

    over all $N$ unmasked numbers of all batches.

    **Input** of `observe`, `update` and `forward`: one of the given name, as for `MeanOf`.

    **Result:** float32 `[component?]`, in units of the input; NaN where nothing was seen, or
    nothing but minus infinity, and where an unmasked number was NaN.

    **Arguments:**

    - `name`: that of the input.
    - `num_components`: size of the component axis; `None` if there is none.

    **Raises:** `ValueError` for a name that is not a string or is empty, or a `num_components` that
    is not a positive integer or `None`.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.MaxOf("gradient_norm")
        >>> state = metric.init()
        >>> for gradient_norm in (jnp.float32(3.0), jnp.float32(5.0)):
        ...     state = metric.update(state, gradient_norm=gradient_norm)
        >>> print(metric.compute(state))
        5.0
    """

    _sign: ClassVar = 1.0


class MinOf(_AbstractExtremum):
    r"""Smallest of any numbers that are given by name, such as rewards.

    $$\min_{n=1}^{N} a_n$$

    over all $N$ unmasked numbers of all batches.

    **Input** of `observe`, `update` and `forward`: one of the given name, as for `MeanOf`.

    **Result:** float32 `[component?]`, in units of the input; NaN where nothing was seen, or
    nothing but infinity, and where an unmasked number was NaN.

    **Arguments:**

    - `name`: that of the input.
    - `num_components`: size of the component axis; `None` if there is none.

    **Raises:** `ValueError` for a name that is not a string or is empty, or a `num_components` that
    is not a positive integer or `None`.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.MinOf("reward")
        >>> state = metric.update(metric.init(), reward=jnp.array([0.5, -1.0, 2.0]))
        >>> print(metric.compute(state))
        -1.0
    """

    _sign: ClassVar = -1.0
