"""What all metrics of a collection ask of the same activations, found in one go."""

from collections.abc import Iterator

import jax.numpy as jnp
from jaxtyping import Array

from ._items import Items
from ._reductions import Function, Functions, check_function, sum_functions


class SharedSums:
    """Sums of functions of the same arrays, for metrics that are asked twice what they observe.

    The first time is a rehearsal, under `jax.eval_shape`, that only notes which sums are wanted.
    The second time, all of them are made when the first is asked for, and handed out in the order
    of the rehearsal.
    """

    def __init__(self) -> None:
        self._wanted: list[tuple[str, Function]] = []
        self._results: Iterator[Array] | None = None
        self._is_rehearsal = True

    def end_rehearsal(self) -> None:
        """From now on, hand out results."""
        self._is_rehearsal = False

    def get(self, kind: str, function: Function, arrays: tuple[Array, ...], items: Items) -> Array:
        """The sum of a function; `kind` is the name of a field of `Sums`."""
        if self._is_rehearsal:
            self._wanted.append((kind, function))
            return _stand_in(kind, function, arrays, items)
        if self._results is None:
            self._results = iter(self._sum_all(arrays, items))
        return next(self._results)

    def _sum_all(self, arrays: tuple[Array, ...], items: Items) -> list[Array]:
        wanted = dict.fromkeys(self._wanted)
        functions = Functions(
            per_feature=tuple(function for kind, function in wanted if kind == "per_feature"),
            per_vector=tuple(function for kind, function in wanted if kind == "per_vector"),
        )
        sums = sum_functions(functions, arrays, items.mask, len(items.shape))
        results = {
            kind: dict(zip(getattr(functions, kind), getattr(sums, kind), strict=True))
            for kind in Functions._fields
        }
        return [results[kind][function] for kind, function in self._wanted]


def _stand_in(kind: str, function: Function, arrays: tuple[Array, ...], items: Items) -> Array:
    """Zeros in place of a sum."""
    shape = arrays[0].shape
    kept = shape[len(items.shape) :] if kind == "per_feature" else shape[:-1]
    return jnp.zeros(kept, check_function(function, len(arrays)))
