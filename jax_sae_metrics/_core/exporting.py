"""States in programs that `jax.export` serialises."""

import contextlib
import dataclasses
import functools
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import equinox as eqx
import jax
from jax import export


def register_modules(package: str) -> None:
    """Let JAX serialise trees of all Equinox modules that a package has defined so far."""
    for kind in _subclasses(eqx.Module):
        if kind.__module__.startswith(f"{package}."):
            _register(kind)


def register_nodes(tree: Any) -> None:
    """Let JAX serialise trees like this one, whose nodes may be of a user's own classes."""
    for kind in _types_of_nodes(jax.tree.structure(tree)):
        _register(kind)


@functools.cache
def _register(kind: Any) -> None:
    name = f"{kind.__module__}.{kind.__qualname__}"
    # JAX refuses what is registered already. It is then as its author wants it.
    with contextlib.suppress(ValueError):
        if issubclass(kind, eqx.Module):
            export.register_pytree_node_serialization(
                kind,
                serialized_name=name,
                serialize_auxdata=_written,
                deserialize_auxdata=pickle.loads,
                from_children=functools.partial(_module, kind),
            )
        elif issubclass(kind, tuple) and hasattr(kind, "_fields"):
            export.register_namedtuple_serialization(kind, serialized_name=name)


def _written(auxiliary: Any) -> bytes:
    """The static fields of a module, which are all of its auxiliary data but the first entry."""
    if hasattr(auxiliary, "static_fields"):  # of Equinox 0.13.2: names and values
        return pickle.dumps(tuple(value for _, value in auxiliary.static_fields))
    return pickle.dumps(auxiliary[1:])


def _module(kind: Any, static: tuple[Any, ...], children: Sequence[Any]) -> Any:
    """The module of a class, with these values of its static and its other fields, in order."""
    module = object.__new__(kind)
    values = {True: iter(static), False: iter(children)}
    for field in dataclasses.fields(kind):
        value = next(values[bool(field.metadata.get("static"))])
        object.__setattr__(module, field.name, value)
    return module


def _subclasses(kind: type[Any]) -> Iterator[Any]:
    for subclass in kind.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def _types_of_nodes(tree: Any) -> Iterator[Any]:
    if (node := tree.node_data()) is not None:
        yield node[0]
        for child in tree.children():
            yield from _types_of_nodes(child)
