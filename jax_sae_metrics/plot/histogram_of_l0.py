"""How many features are active at once, as a histogram."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .given import by_component, numbers, value_of
from .style import draw_outlines, drawing_on, write_legend


def l0_histogram(
    counts: Any,
    bin_edges: Any = None,
    names: Sequence[str] | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw the portion of vectors in each bin of L0, from the first that has any to the last.

    **Arguments:**

    - `counts`: numbers of vectors, `[bin]` or `[component, bin]`; or `{name: [bin]}`; or
        `(metric, state)` of an `L0Histogram`, or its value.
    - `bin_edges`: `[bin + 1]`; by default, bins are of 0, 1, 2, ... active features.
    - `names`: the names of the components.
    - `ax`: the axes to draw on; by default those of a new figure.

    **Returns:** the axes.

    **Raises:** `TypeError` for what are no numbers; `ValueError` for another shape or other names
    than expected, edges that do not increase or are not one more than the bins, negative counts,
    and a component without vectors.

    !!! Example

        >>> from jax_sae_metrics import plot
        >>> ax = plot.l0_histogram([0, 3, 4, 1, 0])
        >>> ax.get_ylabel()
        'portion of vectors'
    """
    by_name = by_component("counts", _histograms(value_of(counts)), names, "bin")
    num_bins = {len(each) for each in by_name.values()}
    if len(num_bins) > 1:
        raise ValueError(f"counts: expected as many bins for each, got {sorted(num_bins)}.")
    if bin_edges is None:
        edges = np.arange(max(num_bins) + 1) - 0.5
    else:
        edges = numbers("bin_edges", bin_edges, "bin + 1")
    if len(edges) != max(num_bins) + 1 or np.any(np.diff(edges) <= 0):
        raise ValueError(
            f"bin_edges: expected {max(num_bins) + 1} increasing numbers, one more than there are "
            f"bins, got {len(edges)}."
        )
    for name, each in by_name.items():
        if each.min() < 0 or each.sum() == 0:
            raise ValueError(
                f"counts: expected numbers of vectors, not negative and not all 0, in {name!r}. "
                "Update the state of the metric first."
            )
    is_seen = np.flatnonzero(sum(by_name.values()))
    bins = slice(is_seen[0], is_seen[-1] + 1)
    portions = {name: each[bins] / each.sum() for name, each in by_name.items()}
    with drawing_on(ax) as ax:
        ax.locator_params(axis="x", integer=bin_edges is None)
        draw_outlines(ax, edges[bins.start : bins.stop + 1], portions)
        if "" not in portions:
            write_legend(ax, len(portions), max(map(len, portions)), loc="upper right")
        ax.set_xlabel("L0, active features per vector")
        ax.set_ylabel("portion of vectors")
    return ax


def _histograms(value: Any) -> Any:
    """The histogram in the value of an `L0Histogram`, or those of the components that it names."""
    if not isinstance(value, Mapping):
        return value
    if "histogram" in value:
        return value["histogram"]
    parts = {key.rpartition("histogram/")[1:]: row for key, row in value.items()}
    named = {name: row for (found, name), row in parts.items() if found and name != "mean"}
    return named or value
