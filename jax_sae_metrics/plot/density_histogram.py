"""How often features fire, as a histogram over the logarithm."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from .._configuration import check_between
from .given import by_component, is_evaluation
from .style import (
    GRAY,
    PALE_BLUE,
    PALE_GRAY,
    draw_outlines,
    drawing_on,
    leave_room,
    looks,
    mark_cut,
    write,
    write_legend,
)

_BINS_PER_DECADE = 4
_GAP, _REGION, _BAR = 0.04, 0.12, 0.055  # portions of the range of densities
_LABEL = 0.12  # of the width, for the word "dense"


def density_histogram(
    densities: Any,
    names: Sequence[str] | None = None,
    *,
    dense_above: float = 0.1,
    ax: Axes | None = None,
) -> Axes:
    """Draw how many features have which density, over log10 of the density.

    Features that never fired have no logarithm. Bars on the left count them, with the number above;
    one that is far higher than the histogram is cut off, and marked so. A region on the right has
    the features that are dense.

    **Arguments:**

    - `densities`: portions from 0 to 1, `[feature]` or `[component, feature]`; or
        `{name: [feature]}`; or `(metric, state)` of a `FeatureDensity`; or an `Evaluation`.
    - `names`: the names of the components. An `Evaluation` brings them.
    - `dense_above`: the density from which on the region is marked as dense; 1 marks none.
    - `ax`: the axes to draw on; by default those of a new figure.

    **Returns:** the axes.

    **Raises:** `TypeError` for what are no numbers; `ValueError` for another shape or other names
    than expected, densities outside of 0 to 1, and NaN, which is the density where nothing was
    seen.

    !!! Example

        >>> from jax_sae_metrics import plot
        >>> ax = plot.density_histogram([0.0, 0.001, 0.002, 0.2])
        >>> ax.get_xlabel()
        'firing rate (portion of vectors)'
    """
    check_between("dense_above", dense_above, 1e-38, 1.0)
    if is_evaluation(densities):
        densities = densities.metric["feature_density"], densities.state["feature_density"]
    rates = by_component("densities", densities, names, "feature")
    for rate in rates.values():
        if rate.min() < 0 or rate.max() > 1:
            raise ValueError(
                "densities: expected portions from 0 to 1, got some from "
                f"{rate.min():g} to {rate.max():g}. Divide counts by the number of vectors."
            )
    logs = {name: np.log10(rate[rate > 0]) for name, rate in rates.items()}
    num_dead = [int(np.sum(rate == 0)) for rate in rates.values()]
    lowest = min([-1, *(int(np.floor(each.min())) for each in logs.values() if each.size)])
    edges = np.arange(_BINS_PER_DECADE * lowest, 1) / _BINS_PER_DECADE
    heights = {name: np.histogram(each, edges)[0] for name, each in logs.items()}
    with drawing_on(ax) as ax:
        draw_outlines(ax, edges, heights)
        highest = max(1, *(counts.max() for counts in heights.values()))
        middle = _draw_dead(ax, num_dead, lowest, 1.2 * float(highest))
        decades = range(lowest, 1, -(lowest // 6))
        ax.set_xticks([middle, *decades], ["\nnever fired", *(f"$10^{{{n}}}$" for n in decades)])
        ax.set_xlim(right=0)
        start = np.log10(dense_above)
        _shade(ax, start)
        leave_room(ax, 1.5)
        if "" not in rates:
            right = 1 - max(_LABEL, start / ax.get_xlim()[0])
            anchor = {"loc": "upper right", "bbox_to_anchor": (right, 1)}
            write_legend(ax, len(rates), max(map(len, rates)), **anchor)
        ax.set_xlabel("firing rate (portion of vectors)")
        ax.set_ylabel("number of features")
    return ax


def _draw_dead(ax: Axes, counts: Sequence[int], lowest: int, top: float) -> float:
    """A bar for each component, left of the histogram; return where their middle is."""
    gap, width = -_GAP * lowest, -_BAR * lowest
    middle = lowest - gap + min(_REGION * lowest, -width * len(counts)) / 2
    size = matplotlib.rcParams["lines.linewidth"]
    for index, (look, count) in enumerate(zip(looks(), counts, strict=False)):
        x = middle + (index - (len(counts) - 1) / 2) * width
        height = min(count, top)
        style = {"edgecolor": look.color, "linestyle": look.dashes, "linewidth": size}
        ax.bar(x, height, 0.8 * width, facecolor=PALE_BLUE, **style)
        if count > top:
            mark_cut(ax, x, 0.88 * top, (6.0, 2.0))
        place = {"ha": "center", "va": "bottom", "rotation": 0 if len(counts) == 1 else 90}
        write(ax, f"{count:,}", (x, height), (0, 2), **place)
    ax.set_xlim(left=2 * middle - lowest)
    return middle


def _shade(ax: Axes, start: float) -> None:
    """Shade the region of dense features."""
    if start < 0:
        ax.axvspan(start, 0, color=PALE_GRAY, linewidth=0, zorder=0)
        place = {"xycoords": "axes fraction", "ha": "right", "va": "top"}
        write(ax, "dense", (1, 1), (-2, -2), color=GRAY, **place)
