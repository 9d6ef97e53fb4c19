"""The look that all figures share."""

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

STYLE: Any = {
    "figure.figsize": (3.4, 2.4),
    "figure.dpi": 200,
    "figure.constrained_layout.use": True,
    "font.size": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.borderaxespad": 0.1,
    "legend.labelspacing": 0.25,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.width": 0.6,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "hatch.linewidth": 0.5,
}
"""Settings of matplotlib for half a column: what functions draw with that are given no `ax`.

Draw axes of your own, and save them, under `matplotlib.rc_context(STYLE)` to have the same look.
"""

BLUE, VERMILION, GRAY, PALE_GRAY = "#0072B2", "#D55E00", "#555555", "#EEEEEE"
PALE_BLUE = "#BFDCEC"
# Okabe and Ito's, which the color-blind tell apart. They repeat after another number than the
# dashes and the markers, so that no two of many lines are the same.
_COLORS = (BLUE, VERMILION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)), (0, (9, 2)), (0, (3, 3)))
_MARKERS = "os^Dv"
_MOST_ROWS, _LEGEND_WIDTH = 3, 36  # rows, characters


class Look(NamedTuple):
    """How one series differs from the others, in print without colors too."""

    color: str
    dashes: Any
    marker: str


def looks() -> Iterator[Look]:
    """One look after the other."""
    each = map(itertools.cycle, (_COLORS, _DASHES, _MARKERS))
    return map(Look, *each)


@contextlib.contextmanager
def drawing_on(ax: Axes | None, height: float = STYLE["figure.figsize"][1]) -> Iterator[Axes]:
    """The axes to draw on; without any, those of a new figure in the style of this library."""
    if ax is not None:
        yield ax
        return
    with matplotlib.rc_context(STYLE):
        _, ax = plt.subplots(figsize=(STYLE["figure.figsize"][0], height))
        # Ticks are made when the figure is saved, under the settings of that moment.
        size, width, length = (
            STYLE[f"xtick.{of}"] for of in ("labelsize", "major.width", "major.size")
        )
        ax.tick_params(labelsize=size, width=width, length=length)
        yield ax


def draw_outlines(ax: Axes, edges: np.ndarray, heights: Mapping[str, np.ndarray]) -> None:
    """A histogram for each label: an outline, filled if it is the only one."""
    for look, (label, counts) in zip(looks(), heights.items(), strict=False):
        ax.stairs(
            counts,
            edges,
            edgecolor=look.color,
            linestyle=look.dashes,
            linewidth=matplotlib.rcParams["lines.linewidth"],
            fill=len(heights) == 1,
            facecolor=PALE_BLUE,
            label=shown(label),
        )


def write(ax: Axes, text: str, xy: Any, offset: Any = (0, 0), **style: Any) -> None:
    """Write inside of axes, at a point and so many points of print from it."""
    style = {"fontsize": matplotlib.rcParams["legend.fontsize"], "va": "center"} | style
    ax.annotate(shown(text), xy, offset, textcoords="offset points", **style)


def write_legend(ax: Axes, number: int, longest: int, **place: Any) -> None:
    """Write the legend of so many labels, above what is drawn."""
    columns = 1 if number <= _MOST_ROWS else max(1, _LEGEND_WIDTH // (longest + 6))
    leave_room(ax, math.ceil(number / columns) + 0.5)
    ax.legend(ncols=columns, columnspacing=1, **place)


def shown(text: str) -> str:
    """The text without what matplotlib takes for mathematics, or for a label to leave out."""
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def text_points() -> float:
    """The size of text inside of axes."""
    size = matplotlib.rcParams["legend.fontsize"]
    return float(FontProperties(size=size).get_size_in_points())


def line_height(ax: Axes) -> float:
    """The height of a line of text, as a portion of the axes."""
    return float(1.3 * text_points() / 72 * ax.figure.dpi / ax.bbox.height)


def leave_room(ax: Axes, lines: float) -> None:
    """Raise the upper limit, so that so many lines of text fit above what is drawn."""
    share = min(lines * line_height(ax), 0.7)
    transform = ax.yaxis.get_transform()
    low, high = transform.transform(np.array(ax.get_ylim()))
    highest = transform.inverted().transform(np.array([low + (high - low) / (1 - share)]))
    ax.set_ylim(top=float(highest[0]))


def mark_cut(ax: Axes, x: float, y: float, stroke: tuple[float, float]) -> None:
    """Mark where a bar is cut off, with a gap across it, half of which is so many points."""
    dx, dy = np.array(stroke) / math.hypot(*stroke)
    path = [(-dx, -dy), (dx, dy)]
    for color, width in (("black", 3.2), ("white", 2)):
        style: dict[str, Any] = {"markeredgecolor": color, "markeredgewidth": width}
        ax.plot(x, y, marker=path, markersize=2 * math.hypot(*stroke), **style)


def plain_log_ticks(axis: Any, low: float, high: float) -> None:
    """Ticks with plain numbers along a logarithmic axis."""
    ratio = high / low
    subs = (1, 2, 3, 5, 7) if ratio < 10 else (1, 2, 5) if ratio < 1e3 else (1,)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
