"""A metric as the call that makes it, in text, for files that say what they hold."""

import ast
import inspect
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx

_NAMED_NUMBERS = {"inf": math.inf, "nan": math.nan}


def constructor_call(metric: eqx.Module) -> str:
    """The call that makes this metric, without arguments that have their defaults.

    An argument that the metric does not keep under its name is `...`.
    """
    arguments = []
    for name, parameter in inspect.signature(type(metric)).parameters.items():
        value: Any = getattr(metric, name, ...)
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments += [f"{key}={_in_code(one)}" for key, one in dict(value).items()]
        elif parameter.default is parameter.empty or value != parameter.default:
            arguments.append(f"{name}={_in_code(value)}")
    return f"{type(metric).__name__}({', '.join(arguments)})"


def _in_code(value: Any) -> str:
    if isinstance(value, eqx.Module):
        return constructor_call(value)
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {_in_code(one)}' for key, one in value.items())}}}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_in_code, value))}{',' * (len(value) == 1)})"
    return "..." if value is ... else repr(value)


def metric_of(call: str, class_of: Callable[[str], Any]) -> Any:
    """The metric that a call makes. Nothing else in the text is run.

    `class_of` returns the class of a name, or raises. Raises `ValueError` for a text that is not
    such a call.
    """

    def value_of(node: ast.expr) -> Any:
        match node:
            case ast.Call(func=ast.Name(id=name), args=[], keywords=keywords):
                return class_of(name)(**{str(k.arg): value_of(k.value) for k in keywords})
            case ast.Dict(keys=keys, values=values):
                return {
                    value_of(key): value_of(value)
                    for key, value in zip(keys, values, strict=True)
                    if key is not None
                }
            case ast.Tuple(elts=elements):
                return tuple(map(value_of, elements))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -value_of(operand)
            case ast.Name(id=name) if name in _NAMED_NUMBERS:
                return _NAMED_NUMBERS[name]
            case ast.Constant(value=value) if value is not ...:
                return value
        raise ValueError(f"expected the call of a metric's class, got {ast.unparse(node)}.")

    try:
        tree = ast.parse(call, mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"expected the call of a metric's class: {error}.") from None
    return value_of(tree)
