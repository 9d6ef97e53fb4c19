"""What the API pages show of the package's docstrings and classes: an extension of Griffe."""

import dataclasses
import inspect
import re
from typing import Any

import griffe

import jax_sae_metrics

_DOCTEST = re.compile(r"^( *)>>> .*\n(?:\1.*\S.*(?:\n|$))*", flags=re.MULTILINE)


class Modules(griffe.Extension):
    """Doctests as blocks of code, and the arguments of classes whose `__init__` Equinox writes."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Point public names at what they are: a function may be in a module of the same name."""
        del kwargs
        for name, value in vars(jax_sae_metrics).items():
            home = getattr(value, "__module__", None) or ""
            if not name.startswith("_") and home.startswith(pkg.path):
                pkg.set_member(name, griffe.Alias(name, f"{home}.{value.__qualname__}"))
        for inner in pkg.modules.values():
            for name, module in inner.modules.items():
                if not inner.name.startswith("_") and name in module.functions:
                    inner.members[name] = module.functions[name]

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Fence the doctests; without a fence, Markdown takes `>>>` for three quotations."""
        del kwargs
        if obj.docstring is not None:
            obj.docstring.value = _DOCTEST.sub(_fenced, obj.docstring.value + "\n")

    def on_class(self, *, cls: griffe.Class, loader: griffe.GriffeLoader, **kwargs: Any) -> None:
        """Add the `__init__` that Equinox derives from the fields."""
        del kwargs
        found = getattr(jax_sae_metrics, cls.name, None)
        if "__init__" in cls.members or not dataclasses.is_dataclass(found):
            return
        parameters = [
            griffe.Parameter(
                field.name,
                kind=griffe.ParameterKind.positional_or_keyword,
                annotation=_annotation(loader, found, field.name),
                default=None if field.default is dataclasses.MISSING else repr(field.default),
            )
            for field in dataclasses.fields(found)
            if field.init
        ]
        this = griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)
        init = griffe.Function("__init__", parameters=griffe.Parameters(this, *parameters))
        cls.set_member("__init__", init)


def _annotation(loader: griffe.GriffeLoader, found: type, name: str) -> Any:
    """What the source says of a field, in the class that defines it."""
    for owner in found.__mro__:
        if name in inspect.get_annotations(owner):
            return loader.modules_collection[
                f"{owner.__module__}.{owner.__qualname__}.{name}"
            ].annotation
    return None


def _fenced(doctest: re.Match[str]) -> str:
    indent = doctest[1]
    return f"{indent}```pycon\n{doctest[0].rstrip()}\n{indent}```\n"
