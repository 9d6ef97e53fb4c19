"""Errors for calls that Python alone would answer with a count of arguments."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

Method = TypeVar("Method", bound=Callable[..., Any])


def public(method: Method) -> Method:
    """Say what to do where Python alone would count arguments: no instance, inputs by position."""
    parameters = inspect.signature(method).parameters.values()
    by_position = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    takes_inputs = any(p.kind is p.VAR_KEYWORD for p in parameters)

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not (args and hasattr(type(args[0]), method.__name__)):
            raise TypeError(
                f"{method.__name__}: called on a class. Make an instance of the metric first, such "
                f"as metric = L0Norm(), and call metric.{method.__name__}(...)."
            )
        if takes_inputs and len(args) > len(by_position):
            num_inputs = len(args) - len(by_position)
            raise TypeError(
                f"{method.__name__}: {type(args[0]).__name__} takes its inputs by keyword, such as "
                f"{args[0]._first_inputs()}, got {num_inputs} by position."
            )
        return method(*args, **kwargs)

    return cast(Method, call)
