"""What activations that are given by their entries have in common: checks, and integer dtypes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Integer

from .._arrays import is_array, not_an_array


def in_int32(indices: Any) -> Any:
    """NumPy's 64-bit indices, with -1 for those that JAX without x64 would cut to other numbers."""
    if not isinstance(indices, np.ndarray) or indices.dtype not in (np.int64, np.uint64):
        return indices
    return np.where((indices >= 0) & (indices < 2**31), indices, -1).astype(np.int32)


def is_index(indices: Integer[Array, "..."], size: int) -> Bool[Array, "..."]:
    """Where indices are in range, and do not stand for padding."""
    # An integer of one or two bytes may not hold the size.
    indices = indices.astype(jnp.int32) if indices.dtype.itemsize < 4 else indices
    return (indices >= 0) & (indices < size)


def check_array(name: str, array: Any, kind: type) -> None:
    """Raise unless this is an array of a dtype of this kind."""
    expected = f"an array of {kind.__name__} dtype"
    is_shape = isinstance(array, jax.ShapeDtypeStruct)  # under `jax.eval_shape`
    if not (is_shape or (is_array(array) and hasattr(array, "dtype"))):
        raise not_an_array(name, array, expected)
    if not jnp.issubdtype(array.dtype, kind):
        raise TypeError(f"{name}: expected {expected}, got {array.dtype}.")


def check_same_shape(axes: str, **arrays: Any) -> None:
    """Raise unless all arrays have the same shape."""
    *names, last = arrays
    if len({array.shape for array in arrays.values()}) > 1:
        *shapes, shape = (array.shape for array in arrays.values())
        raise ValueError(
            f"{', '.join(names)} and {last} must have the same shape {axes}, got "
            f"{', '.join(map(str, shapes))} and {shape}."
        )
