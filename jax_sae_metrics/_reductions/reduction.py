"""One reduction of arrays, as data."""

import collections
import functools
import warnings
from collections.abc import Hashable
from typing import Any, Literal, NamedTuple, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._arrays import Size
from .function import Function

Kind: TypeAlias = Literal[
    "sum_per_feature", "sum_per_vector", "max_per_feature", "last_per_feature", "centre", "offset"
]


class Vectors(NamedTuple):
    """Arrays with an entry, or a vector, for each item: `[*item, *component, ...]`.

    A component axis of size 1 is the same for all components, of the other arrays or of the mask.
    """

    arrays: tuple[Array, ...]
    mask: Array | None = None
    positions: Array | None = None  # 1 for the first unmasked item, and so on; 0 where masked out

    @property
    def shape(self) -> tuple[Size, ...]:
        """The shape of all arrays and the mask together."""
        shape, *others = (array.shape for array in self.arrays)
        if self.mask is not None:
            others.append((*self.mask.shape, 1))
        for other in others:
            # Not `jnp.broadcast_shapes`, which knows no symbolic sizes.
            shape = tuple(n if m == 1 else m for m, n in zip(shape, other, strict=True))
        return shape


class Reduction(eqx.Module):
    """A function of single numbers, one entry of each array, reduced over items or features.

    | kind | what it gives |
    |---|---|
    | `sum_per_feature` | the sum over items, or the count of True |
    | `sum_per_vector` | the sum over features, or the count of True |
    | `max_per_feature` | the largest value over items |
    | `last_per_feature` | the number of the last item with True (the first is 1); 0 if none |
    | `centre` | a value near the mean over items, found before all others |
    | `offset` | the mean over items minus the centre, found in a read before all others |

    After the entries of the arrays, the function takes one entry of each constant: an array
    `[*component, feature]`, a centre or an offset.
    """

    kind: Kind = eqx.field(static=True)
    function: Function = eqx.field(static=True)
    constants: tuple[Any, ...] = ()

    @property
    def key(self) -> Hashable:
        """Equal for two reductions that give the same result for the same arrays."""
        constants = (c.key if isinstance(c, Reduction) else id(c) for c in self.constants)
        return self.kind, self.function, *constants

    @property
    def is_per_vector(self) -> bool:
        """Whether features are reduced, and not items."""
        return self.kind == "sum_per_vector"

    @property
    def is_maximum(self) -> bool:
        """Whether the largest value is taken, and not the sum."""
        return self.kind in ("max_per_feature", "last_per_feature")


# What a function must return, for kinds that do not take both booleans and floats.
_RETURNS = {"last_per_feature": (jnp.bool_,), "max_per_feature": (jnp.floating,)}


@functools.lru_cache(maxsize=1024)
def check_function(function: Function, num_numbers: int, kind: Kind) -> None:
    """Raise unless the function takes `num_numbers` and returns what the kind can reduce."""
    number = jax.ShapeDtypeStruct((), jnp.float32)
    allowed = _RETURNS.get(kind, (jnp.bool_, jnp.floating))
    returned = " or ".join("a boolean" if one is jnp.bool_ else "a float" for one in allowed)
    rule = (
        f"{function!r}: {kind} expected a function of {num_numbers} number(s), one entry of each "
        f"array, that returns {returned}"
    )
    try:
        value = jax.eval_shape(function, *(number,) * num_numbers)
    except (TypeError, ValueError, IndexError) as error:
        raise TypeError(f"{rule}. It raised: {error}") from error
    dtype = getattr(value, "dtype", jnp.dtype(object))
    is_allowed = any(jnp.issubdtype(dtype, one) for one in allowed)
    if getattr(value, "shape", None) != () or not is_allowed:
        raise TypeError(
            f"{rule}, got {value}. It sees no entries of other features or vectors; a number for "
            "each feature, such as a decoder norm, is a constant."
        )
    _warn_if_made_anew(function)


# More functions of the same code than a collection is likely to have.
_MANY = 10
_num_made: collections.Counter[Any] = collections.Counter()


@functools.lru_cache(maxsize=1024)
def _warn_if_made_anew(function: Function) -> None:
    """Say once of a function that every batch has its own: then every batch is compiled."""
    # Under `jit`, all batches share one.
    if not hasattr(function, "__code__") or isinstance(jnp.zeros(()), jax.core.Tracer):
        return
    # Decorated functions share the code of their decorator.
    place = function.__code__, function.__module__, function.__qualname__
    _num_made[place] += 1
    if _num_made[place] == _MANY:
        message = (
            f"{function!r} was made {_MANY} times, and each of them is compiled. Define it once, "
            "at the top of the module and not in `_observe`, or call `update` under `jax.jit`."
        )
        warnings.warn(message, stacklevel=2)
