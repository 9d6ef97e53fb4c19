"""A function of single numbers, at every entry of arrays."""

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import numpy as np
from jax import lax
from jaxtyping import Array

Function: TypeAlias = Callable[..., Array]

# What JAX 0.9 and later ones call a call of `jax.jit`.
_CALLS = ("pjit", "jit")
# What a function does with single numbers, these do with arrays, entry by entry.
_ELEMENTWISE: dict[str, Callable[..., Array]] = {
    **{
        name: getattr(lax, name)
        for name in (
            "abs", "neg", "sign", "floor", "ceil", "is_finite", "square", "sqrt", "rsqrt",
            "exp", "exp2", "expm1", "log", "log1p", "tanh", "logistic", "erf",
            "add", "sub", "mul", "div", "pow", "max", "min",
            "eq", "ne", "lt", "le", "gt", "ge", "select_n",
        )
    },
    "and": lax.bitwise_and,
    "or": lax.bitwise_or,
    "not": lax.bitwise_not,
}  # fmt: skip


def at_every_entry(function: Function, arrays: list[Array]) -> Array:
    """The function's values at all entries of arrays of the same shape and dtype.

    A function sees single numbers: it cannot depend on how the arrays are cut into blocks. It is
    traced once for all arrays, since `jax.vmap` takes longer to trace than all else.
    """
    steps = _steps(function, len(arrays), arrays[0].dtype)
    if steps is not None:
        return _run(steps, arrays)
    for _ in range(arrays[0].ndim):
        function = jax.vmap(function)
    return function(*arrays)


@functools.lru_cache(maxsize=1024)
def _steps(function: Function, num_numbers: int, dtype: Any) -> Any:
    """What the function does with single numbers; None if that is more than `_ELEMENTWISE`."""
    number = jax.ShapeDtypeStruct((), dtype)
    traced = jax.make_jaxpr(function)(*(number,) * num_numbers)
    # Constants are arrays from elsewhere: a tracer must not be kept.
    return traced.jaxpr if not traced.consts and _is_elementwise(traced.jaxpr) else None


def _is_elementwise(steps: Any) -> bool:
    def is_known(step: Any) -> bool:
        name, settings = step.primitive.name, step.params
        if name in _CALLS:
            return not settings["jaxpr"].consts and _is_elementwise(settings["jaxpr"].jaxpr)
        if name in ("convert_element_type", "integer_pow"):
            return True
        return name in _ELEMENTWISE and all(value is None for value in settings.values())

    return all(map(is_known, steps.eqns))


def _run(steps: Any, arrays: list[Array]) -> Array:
    """Each step, with arrays in place of single numbers."""
    like = arrays[0]
    known = dict(zip(steps.invars, arrays, strict=True))

    def array_of(operand: Any) -> Array:
        if hasattr(operand, "val"):  # a number that is written in the function
            # As a number of NumPy. JAX's own would belong to the mesh that it was traced on.
            return lax.full_like(like, np.asarray(operand.val).item(), operand.aval.dtype)
        return known[operand]

    for step in steps.eqns:
        operands = [array_of(operand) for operand in step.invars]
        known[step.outvars[0]] = _one_step(step.primitive.name, step.params, operands)
    (result,) = steps.outvars
    return array_of(result)


def _one_step(name: str, settings: Any, operands: list[Array]) -> Array:
    if name in _CALLS:
        return _run(settings["jaxpr"].jaxpr, operands)
    if name == "convert_element_type":
        return lax.convert_element_type(operands[0], settings["new_dtype"])
    if name == "integer_pow":
        return lax.integer_pow(operands[0], settings["y"])
    return _ELEMENTWISE[name](*operands)
