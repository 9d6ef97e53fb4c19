"""Where in a model an autoencoder or a transcoder stands."""

import collections
from collections.abc import Mapping
from typing import Any

import equinox as eqx

from .._configuration import brief, check_name


class Component(eqx.Module):
    """An autoencoder at a hook point, or a transcoder that reads one and predicts another.

    `evaluate` takes it in the place of a plain function. What it decodes is compared with the
    activations at the hook point that it writes, and takes their place in the model. Several
    components may stand at one hook point: a sweep of autoencoders that are compared on the same
    tokens.

    **Arguments:**

    - `autoencode`: a function of the activations that are read, which returns `(codes, decoded)`.
    - `reads`: the number of the hook point that it reads.
    - `writes`: the number of the hook point that it predicts, which the model comes to later; by
        default the one that it reads.

    **Raises:** `ValueError` for a number that is not an integer from 0, `TypeError` for what cannot
    be called.

    !!! Example

        >>> from jax_sae_metrics.evaluation import Component
        >>> def transcode(mlp_input):
        ...     return mlp_input, 2 * mlp_input
        >>> component = Component(transcode, reads=0, writes=1)
        >>> component.reads, component.writes
        (0, 1)
    """

    autoencode: Any
    reads: int = eqx.field(static=True)
    writes: int = eqx.field(static=True)

    def __init__(self, autoencode: Any, reads: int, writes: int | None = None) -> None:
        if not callable(autoencode):
            raise TypeError(
                "autoencode: expected a function of activations that returns (codes, decoded), got "
                f"{brief(autoencode)}."
            )
        self.autoencode = autoencode
        self.reads = reads
        self.writes = reads if writes is None else writes
        for name in ("reads", "writes"):
            number = getattr(self, name)
            if not isinstance(number, int) or isinstance(number, bool) or number < 0:
                raise ValueError(
                    f"{name}: expected the number of a hook point, 0 or more, got {brief(number)}."
                )


def components_of(autoencoders: Any) -> collections.OrderedDict[str, Component]:
    """Each with its place: a plain function stands at the hook point of its position."""
    if not isinstance(autoencoders, Mapping) or not autoencoders:
        raise ValueError(
            "autoencoders: expected a dictionary of functions by the name of their component, got "
            f"{brief(autoencoders)}."
        )
    for name in autoencoders:
        check_name("autoencoders", name)
    # `jit` would sort the names of a plain dictionary.
    return collections.OrderedDict(
        (name, one if isinstance(one, Component) else Component(one, position))
        for position, (name, one) in enumerate(autoencoders.items())
    )
