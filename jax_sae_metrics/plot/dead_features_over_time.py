"""How many features are dead, as training goes on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from .given import labels, numbers
from .style import drawing_on, line_height, looks, shown, write, write_legend

_MOST_LABELS, _LONGEST_LABEL = 6, 16
_UNITS = ((1e9, "billions"), (1e6, "millions"), (1e3, "thousands"))


def dead_features_over_time(
    tokens_seen: Any,
    num_dead: Any,
    names: Sequence[str] | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw the number of dead features against the number of tokens seen, a line per component.

    Up to six lines have their names at their ends. More of them, and names of more than 16
    characters, are in a legend.

    **Arguments:**

    - `tokens_seen`: `[time]`.
    - `num_dead`: `[time]` or `[time, component]`, such as a list of what `DeadFeatures` computed.
    - `names`: the names of the components.
    - `ax`: the axes to draw on; by default those of a new figure.

    **Returns:** the axes.

    **Raises:** `TypeError` for what are no numbers; `ValueError` for another shape or other names
    than expected, different lengths, and numbers that are not finite.

    !!! Example

        >>> from jax_sae_metrics import plot
        >>> ax = plot.dead_features_over_time([1e6, 2e6, 3e6], [0, 10, 12])
        >>> ax.get_xlabel()
        'tokens seen (millions)'
    """
    tokens = numbers("tokens_seen", tokens_seen, "time")
    counts = numbers("num_dead", num_dead, "time", "component?")
    if len(counts) != len(tokens):
        raise ValueError(
            f"num_dead: expected {len(tokens)} rows, one for each of tokens_seen, got "
            f"{len(counts)}."
        )
    columns = counts.reshape(len(counts), -1).T
    names = labels(names, len(columns))
    with drawing_on(ax) as ax:
        for look, name, column in zip(looks(), names, columns, strict=False):
            style = {"color": look.color, "linestyle": look.dashes, "marker": look.marker}
            ax.plot(tokens, column, **style, markevery=[-1], label=shown(name))
        ax.set_ylim(0, max(1.0, 1.05 * counts.max()))
        unit, word = next((u for u in _UNITS if tokens.max() >= u[0]), (1.0, ""))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / unit:g}"))
        ax.locator_params(axis="y", integer=True)
        if max(map(len, names)) <= _LONGEST_LABEL and len(names) <= _MOST_LABELS:
            _label_ends(ax, names, tokens[-1], columns[:, -1])
        else:
            write_legend(ax, len(names), max(map(len, names)), loc="upper left")
        ax.set_xlabel(f"tokens seen ({word})" if word else "tokens seen")
        ax.set_ylabel("number of dead features")
    return ax


def _label_ends(ax: Axes, names: Sequence[str], x: float, ends: np.ndarray) -> None:
    """Write each name to the right of its line, and join it to the end of the line."""
    gap = line_height(ax) * float(np.ptp(ax.get_ylim()))
    right = ax.get_yaxis_transform()
    for look, name, end, y in zip(looks(), names, ends, _apart(ends, gap), strict=False):
        if name:
            write(ax, name, (1.05, y), xycoords=right, annotation_clip=False)
            style = {"arrowstyle": "-", "color": look.color, "linewidth": 0.6, "shrinkA": 0}
            ax.annotate("", (x, end), (1.04, y), "data", right, style, annotation_clip=False)


def _apart(heights: np.ndarray, gap: float) -> Float64[np.ndarray, " line"]:
    """The heights, moved as little as needed for no two to be closer than the gap."""
    order = np.argsort(heights, kind="stable")
    steps = gap * np.arange(len(heights))
    wanted = heights[order] - steps
    ends = range(len(heights))
    # Isotonic regression: between neighbors that would overlap, the means of their places.
    level = [
        max(min(wanted[j : k + 1].mean() for k in ends[i:]) for j in ends[: i + 1]) for i in ends
    ]
    moved = np.empty(len(heights))
    moved[order] = level + steps
    return moved
