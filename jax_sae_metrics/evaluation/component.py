"""Where in a model an autoencoder or a transcoder stands."""

import collections
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import equinox as eqx

from .._configuration import brief, check_name

HookPoint: TypeAlias = int | str


class Component(eqx.Module):
    """An autoencoder at a hook point, or a transcoder that reads one and predicts another.

    `evaluate` takes it in the place of a plain function. What it decodes is compared with the
    activations at the hook point that it writes, and takes their place in the model. Several
    components may stand at one hook point: a sweep of autoencoders that are compared on the same
    tokens.

    **Arguments:**

    - `autoencode`: a function of the activations that are read, which returns `(codes, decoded)`.
    - `reads`: the hook point that it reads: the number or the name that the model calls
        `intervene` with.
    - `writes`: the hook point that it predicts, which the model comes to later; by default the one
        that it reads.

    **Raises:** `TypeError` for what cannot be called, and for a hook point that is neither an
    integer nor a string.

    !!! Example

        >>> from jax_sae_metrics.evaluation import Component
        >>> def transcode(mlp_input):
        ...     return mlp_input, 2 * mlp_input
        >>> component = Component(transcode, reads="mlp_input", writes="mlp_output")
        >>> component.reads, component.writes
        ('mlp_input', 'mlp_output')
    """

    autoencode: Any
    reads: HookPoint = eqx.field(static=True)
    writes: HookPoint = eqx.field(static=True)

    def __init__(self, autoencode: Any, reads: HookPoint, writes: HookPoint | None = None) -> None:
        if not callable(autoencode):
            raise TypeError(
                "autoencode: expected a function of activations that returns (codes, decoded), got "
                f"{brief(autoencode)}."
            )
        self.autoencode = autoencode
        self.reads = reads
        self.writes = reads if writes is None else writes
        for name in ("reads", "writes"):
            hook_point = getattr(self, name)
            if not isinstance(hook_point, int | str) or isinstance(hook_point, bool):
                raise TypeError(
                    f"{name}: expected the number or the name of a hook point, got "
                    f"{brief(hook_point)}."
                )


def check_autoencoders(autoencoders: Any) -> None:
    """Raise unless they are functions by name."""
    if not isinstance(autoencoders, Mapping) or not autoencoders:
        raise ValueError(
            "autoencoders: expected a dictionary of functions by the name of their component, got "
            f"{brief(autoencoders)}."
        )
    for name in autoencoders:
        check_name("autoencoders", name)


def components_of(
    autoencoders: Mapping[str, Any], hook_points: list[HookPoint]
) -> collections.OrderedDict[str, Component]:
    """Each with its place: a plain function stands at the hook point of its name, or position.

    Raises unless the model comes to what each reads, and then to what it writes.
    """
    # `jit` would sort the names of a plain dictionary.
    components: collections.OrderedDict[str, Component] = collections.OrderedDict()
    places = _places(autoencoders, hook_points)
    for place, (name, one) in zip(places, autoencoders.items(), strict=True):
        components[name] = one if isinstance(one, Component) else Component(one, place)
        _check_place(name, components[name], hook_points)
    return components


def _check_place(name: str, component: Component, hook_points: list[HookPoint]) -> None:
    for hook_point in (component.reads, component.writes):
        if hook_point not in hook_points:
            raise ValueError(
                f"autoencoders: {name!r} is at {hook_point!r}, and the model calls intervene for "
                f"hook points {hook_points}."
            )
    if hook_points.index(component.reads) > hook_points.index(component.writes):
        raise ValueError(
            f"autoencoders: {name!r} reads hook point {component.reads!r}, which the model comes "
            f"to after {component.writes!r}, which it writes."
        )


def _places(autoencoders: Mapping[str, Any], hook_points: list[HookPoint]) -> Iterable[HookPoint]:
    """Where plain functions stand; raise if that is not clear."""
    if all(isinstance(one, Component) for one in autoencoders.values()):
        return range(len(autoencoders))
    if all(name in hook_points for name in autoencoders):
        return autoencoders
    if {*hook_points} == {*range(len(autoencoders))}:
        return range(len(autoencoders))
    raise ValueError(
        f"autoencoders: the model calls intervene for hook points {hook_points}, and the "
        f"autoencoders are {[*autoencoders]}. Number the hook points from 0, in the order of the "
        "autoencoders, or give them the same names, or say where each one is: "
        "Component(autoencode, reads=...)."
    )
