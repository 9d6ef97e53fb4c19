"""The activations of one feature, as a histogram with its top examples."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from .._configuration import brief
from .given import numbers
from .style import VERMILION, draw_outlines, drawing_on, leave_room, line_height, text_points, write

_NUM_BINS, _MOST_EXAMPLES = 40, 5
_SIGNS = {"\n": "⏎", "\t": "⇥"}


def activation_histogram(
    activations: Any,
    examples: Any = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw how often one feature has which activation, where it fires; the count is logarithmic.

    The texts of examples stand above, with a tick at the activation of each.

    **Arguments:**

    - `activations`: those of one feature, of any shape. Only those above 0 count.
    - `examples`: pairs of an activation and a text, the largest first, of which five are drawn;
        or a mapping from activations to texts. Signs that have no picture are written as escapes.
    - `ax`: the axes to draw on; by default those of a new figure.

    **Returns:** the axes.

    **Raises:** `TypeError` for what are no numbers or no pairs; `ValueError` for numbers that are
    not finite, and if no activation is above 0.

    !!! Example

        >>> from jax_sae_metrics import plot
        >>> ax = plot.activation_histogram([0.0, 1.0, 1.5], [(1.5, "the bridge")])
        >>> ax.get_ylabel()
        'number of tokens'
    """
    flat = numbers("activations", np.ravel(np.asarray(activations)), "token")
    positive = flat[flat > 0]
    if not positive.size:
        raise ValueError("activations: expected some above 0, got none. This feature never fired.")
    counts, edges = np.histogram(positive, _NUM_BINS, (0, positive.max()))
    pairs = [] if examples is None else _checked(examples)
    with drawing_on(ax) as ax:
        draw_outlines(ax, edges, {"": counts})
        ax.set_yscale("log")
        ax.set_ylim(0.7, 1.5 * counts.max())
        ax.set_yticks(10.0 ** np.arange(np.floor(np.log10(counts.max())) + 1))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.set_xlim(left=0)
        if pairs:
            leave_room(ax, len(pairs) + 0.5)
            _draw_examples(ax, pairs)
        ax.set_xlabel("activation")
        ax.set_ylabel("number of tokens")
    return ax


def _checked(examples: Any) -> list[tuple[float, str]]:
    pairs = examples.items() if isinstance(examples, Mapping) else examples
    try:
        return [
            (float(activation), str(text))
            for activation, text in itertools.islice(pairs, _MOST_EXAMPLES)
        ]
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"examples: expected pairs of an activation and a text, got {brief(examples)}."
        ) from error


def _draw_examples(ax: Axes, pairs: list[tuple[float, str]]) -> None:
    """Texts from the top down, and ticks across the axis of activations."""
    ticks: dict[str, Any] = {
        "marker": "|",
        "linestyle": "none",
        "color": VERMILION,
        "markersize": 8,
    }
    places = [activation for activation, _ in pairs]
    of_axis = ax.get_xaxis_transform()
    ax.plot(places, [0.0] * len(pairs), transform=of_axis, clip_on=False, **ticks)
    width = int(ax.bbox.width / ax.figure.dpi * 72 / (0.55 * text_points()))
    place = {"xycoords": "axes fraction", "va": "top"}
    for row, (activation, text) in enumerate(pairs):
        y = 1 - row * line_height(ax)
        write(ax, f"{activation:.3g}", (0.02, y), color=VERMILION, **place)
        write(ax, _brief(text, width - 7), (0.14, y), **place)


def _brief(text: str, width: int) -> str:
    """The text on one line, with all signs visible, and cut to a width."""
    signs = (_SIGNS.get(c) or (c if c.isprintable() else ascii(c)[1:-1]) for c in text)
    visible = "".join(signs)
    return visible if len(visible) <= width else f"{visible[: width - 1].rstrip()}…"
