"""What all metrics of a collection ask of the same activations, found in one go."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Float32

from ._accumulator import AxisName
from ._items import Items
from ._reductions import (
    Function,
    Kinds,
    Term,
    at_least_float32,
    check_function,
    near_mean,
    reduce_functions,
)


@dataclasses.dataclass(frozen=True)
class Given:
    """The input of this name, `[component?, feature]`: the same for all items."""

    name: str

    def value(self, inputs: Mapping[str, Any]) -> Float[Array, "*component feature"]:
        """The input itself, float32 at least."""
        return at_least_float32(lax.stop_gradient(jnp.asarray(inputs[self.name])))


@dataclasses.dataclass(frozen=True)
class Centre:
    """A value near the mean of a function, `[component?, feature]`."""

    function: Function


Constant: TypeAlias = Given | Centre


class _Request(NamedTuple):
    kind: str  # the name of a field of `Kinds`
    function: Function
    constants: tuple[Constant, ...]

    @property
    def term(self) -> Term:
        return Term(self.function, len(self.constants))


class SharedReductions:
    """Reductions of functions of the same arrays, for metrics that are asked twice what they see.

    The first time is a rehearsal, under `jax.eval_shape`, that only notes what is wanted. The
    second time, all of it is found when the first is asked for, and handed out in the order of the
    rehearsal.
    """

    def __init__(self, inputs: Mapping[str, Any], axis_name: AxisName | None) -> None:
        self._inputs = inputs
        self._axis_name = axis_name
        self._wanted: list[_Request] = []
        self._results: Iterator[Array] | None = None
        self._centres: dict[Centre, Array] = {}
        self._is_rehearsal = True

    def end_rehearsal(self) -> None:
        """From now on, hand out results."""
        self._is_rehearsal = False

    def get(
        self,
        kind: str,
        function: Function,
        constants: tuple[Constant, ...],
        arrays: tuple[Array, ...],
        items: Items,
    ) -> Array:
        """The reduction of a function; `kind` is the name of a field of `Kinds`."""
        if self._is_rehearsal:
            self._wanted.append(_Request(kind, function, constants))
            return _stand_in(kind, function, len(constants), arrays, items)
        if self._results is None:
            self._results = iter(self._reduce_all(arrays, items))
        return next(self._results)

    def centre(
        self, centre: Centre, arrays: tuple[Array, ...], items: Items
    ) -> Float32[Array, "*component feature"]:
        """The value of a centre."""
        if self._is_rehearsal:
            return _stand_in("largest", centre.function, 0, arrays, items)
        if centre not in self._centres:
            self._centres[centre] = near_mean(
                centre.function, arrays, items.mask, len(items.shape), self._axis_name
            )
        return self._centres[centre]

    def _reduce_all(self, arrays: tuple[Array, ...], items: Items) -> list[Array]:
        wanted = dict.fromkeys(self._wanted)
        requests = Kinds(
            *(tuple(request for request in wanted if request.kind == k) for k in Kinds._fields)
        )
        terms = Kinds(*(tuple(request.term for request in of_kind) for of_kind in requests))
        constants = Kinds(
            *(tuple(self._values(r, arrays, items) for r in of_kind) for of_kind in requests)
        )
        found = reduce_functions(terms, constants, arrays, items.mask, len(items.shape))
        results = {
            request: result
            for of_kind, reduced in zip(requests, found, strict=True)
            for request, result in zip(of_kind, reduced, strict=True)
        }
        return [results[request] for request in self._wanted]

    def _values(
        self, request: _Request, arrays: tuple[Array, ...], items: Items
    ) -> tuple[Array, ...]:
        return tuple(
            self.centre(constant, arrays, items)
            if isinstance(constant, Centre)
            else constant.value(self._inputs)
            for constant in request.constants
        )


def _stand_in(
    kind: str, function: Function, num_constants: int, arrays: tuple[Array, ...], items: Items
) -> Array:
    """Zeros in place of a result."""
    dtype = check_function(function, len(arrays) + num_constants)
    shape = arrays[0].shape
    return jnp.zeros(shape[:-1] if kind == "per_vector" else shape[len(items.shape) :], dtype)
