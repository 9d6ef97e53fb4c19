"""What is found of the activations, and what comes out."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

Function: TypeAlias = Callable[..., Array]
Numbers: TypeAlias = Iterator[int] | None


class Kinds(NamedTuple):
    """Something for each reduction that is asked for, by kind.

    Of functions that return booleans, a sum is an int32 count; other sums are float32.
    """

    per_feature: tuple[Any, ...] = ()  # [*component, feature]: sums over items
    per_vector: tuple[Any, ...] = ()  # [*item, *component]: sums over features
    largest: tuple[Any, ...] = ()  # [*component, feature]: float32 maxima over items
    last: tuple[Any, ...] = ()  # [*component, feature]: int32, when a function was last True


class Term(NamedTuple):
    """A function of single numbers: one entry of each array, and of each constant."""

    function: Function
    num_constants: int = 0


class Rows(NamedTuple):
    """All that has an entry, or a row, for each item. The leaves are `[*item, *component, ...]`."""

    arrays: tuple[Array, ...]
    mask: Array | None
    positions: Array | None  # 1 for the first unmasked item, and so on; 0 where masked out


class Column(NamedTuple):
    """Values of all entries that are to be reduced over items."""

    values: Array
    is_maximum: bool


def columns(terms: Kinds, constants: Kinds, rows: Rows, apart: Numbers = None) -> list[Column]:
    """What is reduced over items: sums, then maxima, then positions."""
    arrays, mask = rows.arrays, rows.mask
    summed = apply(terms.per_feature, constants.per_feature, arrays, mask)
    largest = apply(terms.largest, constants.largest, arrays, mask, -math.inf, apart)
    last = apply(terms.last, constants.last, arrays, mask, apart=apart)
    if rows.positions is not None:
        positions = rows.positions[..., None]
        # Not `where`, which for no rows takes its result from the positions alone: those of all
        # devices are the same, and a scan over what each device has must not begin with that.
        last = [positions * value.astype(positions.dtype) for value in last]
    return [
        *(Column(values, is_maximum=False) for values in summed),
        *(Column(values, is_maximum=True) for values in (*largest, *last)),
    ]


def vectors(terms: Kinds, constants: Kinds, rows: Rows) -> list[Array]:
    """What is summed over features, for masked vectors too."""
    return apply(terms.per_vector, constants.per_vector, rows.arrays)


def results(terms: Kinds, reduced: list[Array], per_vector: list[Array]) -> Kinds:
    """The reduced columns, in order, by kind."""
    summed, largest = len(terms.per_feature), len(terms.per_feature) + len(terms.largest)
    return Kinds(
        per_feature=tuple(reduced[:summed]),
        per_vector=tuple(per_vector),
        largest=tuple(reduced[summed:largest]),
        last=tuple(reduced[largest:]),
    )


def apply(
    terms: tuple[Term, ...],
    constants: tuple[tuple[Array, ...], ...],
    arrays: tuple[Array, ...],
    mask: Array | None = None,
    masked: float = 0.0,
    apart: Numbers = None,
) -> list[Array]:
    """The functions' values, of at least float32; `masked` (or False) where masked out.

    With numbers, each function has arrays of its own: see `_as_their_own`.
    """
    values = []
    for term, own in zip(terms, constants, strict=True):
        read = arrays if apart is None else _as_their_own(arrays, next(apart))
        wide = [at_least_float32(array) for array in read]
        spread = (_spread(constant, wide[0]) for constant in own)
        value = _of_each_entry(term.function, wide[0].ndim)(*wide, *spread)
        if mask is not None:
            # Select, never multiply: NaN * 0 is NaN.
            value = jnp.where(mask[..., None], value, jnp.asarray(masked, value.dtype))
        values.append(value)
    return values


def _spread(constant: Array, array: Array) -> Array:
    """The constant of each feature, of the shape, dtype and sharding of the array."""
    sharding = jax.typeof(array).sharding
    explicit = {"out_sharding": sharding} if sharding.mesh.explicit_axes else {}
    return jnp.broadcast_to(constant.astype(array.dtype), array.shape, **explicit)


def _as_their_own(arrays: tuple[Array, ...], number: int) -> tuple[Array, ...]:
    """The same arrays, but not to XLA.

    Functions may have a part in common, such as `x > 0`. XLA would make that first, in a pass of
    its own that writes it out for all of them. It does not see that this condition always holds.
    """
    row, column = (lax.broadcasted_iota(jnp.int32, arrays[0].shape, axis) for axis in (1, 0))
    always = row < column + (arrays[0].shape[1] + number)
    return tuple(jnp.where(always, array, jnp.zeros((), array.dtype)) for array in arrays)


def _of_each_entry(function: Function, ndim: int) -> Function:
    # A function sees single numbers: it cannot depend on how the arrays are cut into blocks.
    for _ in range(ndim):
        function = jax.vmap(function)
    return function


def check_function(function: Function, num_arrays: int) -> jnp.dtype:
    """The dtype of the function's sum; raise unless it makes one number of one from each array."""
    number = jax.ShapeDtypeStruct((), jnp.float32)
    rule = (
        f"{function!r}: expected a function of {num_arrays} number(s), one entry of each array, "
        "that returns a boolean or a float"
    )
    try:
        value = jax.eval_shape(function, *(number,) * num_arrays)
    except (TypeError, ValueError, IndexError) as error:
        raise TypeError(f"{rule}. It raised: {error}") from error
    dtype = getattr(value, "dtype", jnp.dtype(object))
    is_count = jnp.issubdtype(dtype, jnp.bool_)
    if getattr(value, "shape", None) != () or not (is_count or jnp.issubdtype(dtype, jnp.floating)):
        raise TypeError(
            f"{rule}, got {value}. It sees no other entries, of no other feature or vector; what "
            "differs from feature to feature, such as decoder norms, is a constant."
        )
    return jnp.dtype(jnp.int32 if is_count else jnp.float32)


def at_least_float32(array: Array) -> Array:
    """The array in a dtype in which it may be subtracted, squared and summed."""
    return array.astype(jnp.float32) if array.dtype.itemsize < 4 else array


def flatten_items(array: Array, num_item_axes: int) -> Array:
    """One axis for all items."""
    num_items = math.prod(array.shape[:num_item_axes])
    return array.reshape(num_items, *array.shape[num_item_axes:])


def lowest(dtype: jnp.dtype) -> np.ndarray:
    """What no value of a maximum is below: minus infinity, or the position 0."""
    is_float = jnp.issubdtype(dtype, jnp.floating)
    return np.asarray(-np.inf if is_float else 0, dtype)


def reduce_together(given: list[Column], axis: int) -> list[Array]:
    """The sums and maxima of all columns over an axis, as one reduction."""
    if not given:
        return []
    start = [
        lowest(values.dtype) if is_maximum else np.zeros((), values.dtype)
        for values, is_maximum in given
    ]

    def combine(one: list[Array], other: list[Array]) -> list[Array]:
        return [
            jnp.maximum(a, b) if is_maximum else a + b
            for (_, is_maximum), a, b in zip(given, one, other, strict=True)
        ]

    arrays = [column.values for column in given]
    return lax.reduce(arrays, start, combine, (axis % arrays[0].ndim,))
