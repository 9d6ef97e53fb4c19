"""What can be drawn of a result."""

import functools
import io
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from .._core import AbstractMetric
from .._extras import needs_extra
from .._metric.fidelity import ModelLoss
from .._metric.sparsity import FeatureDensity, L0Histogram
from .places import component_names, single_metrics, without_names

with needs_extra("plot"):
    import matplotlib
    import matplotlib.pyplot as plt

    from ..plot import STYLE, density_histogram, l0_histogram, loss_bars, pareto
    from ..plot.loss_bars import height_of_bars

if TYPE_CHECKING:
    from .result import Evaluation

Draw = Callable[..., Any]  # on the `ax` that it is given, or on new axes; returns them
_MOST_LINES = 3


def drawn_together(result: "Evaluation") -> Any:
    """One figure with a panel for each."""
    drawings = _drawings(result)
    if not drawings:
        raise ValueError(
            "plot: the metrics have nothing to draw, or have seen nothing. FeatureDensity, "
            "ModelLoss, L0Histogram, or L0Norm with ReconstructionScore of several components do."
        )
    with matplotlib.rc_context(STYLE):
        width, height = STYLE["figure.figsize"]
        height = max(1.2 * height, height_of_bars(len(result.names)))
        figure, axes = plt.subplots(1, len(drawings), figsize=(width * len(drawings), height))
        for ax, (title, draw) in zip(np.ravel(axes), drawings.items(), strict=True):
            draw(ax=ax)
            ax.set_title(title)
    return figure


def figures(result: "Evaluation") -> dict[str, str]:
    """Each as an SVG element by its title."""
    return {title: _svg(draw) for title, draw in _drawings(result).items()}


def _svg(draw: Draw) -> str:
    file = io.StringIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": "jax_sae_metrics"}):
        figure = draw().figure
        figure.savefig(file, format="svg", metadata={"Date": None})
        plt.close(figure)
    text = file.getvalue()
    return text[text.index("<svg") :]


def _drawings(result: "Evaluation") -> dict[str, Draw]:
    """What there is to draw, by its title; with the name of the metric where that is not clear."""
    found = [
        (title, name, draw)
        for name, metric, state in single_metrics(result.metric, result.state)
        for title, draw in _of_metric(metric, state)
    ]
    if len(result.names) > 1 and _has_score(result):
        found.append(("Sparsity and score", "", functools.partial(pareto, result)))
    titles = [title for title, _, _ in found]
    return {
        title if titles.count(title) == 1 else f"{title}: {name}": draw
        for title, name, draw in found
    }


def _of_metric(metric: AbstractMetric[Any], state: Any) -> Iterator[tuple[str, Draw]]:
    """Titles and drawings of one metric."""
    names = component_names(metric) or None
    metric, state = without_names(metric, state)
    pair = metric, state
    if not _has_seen(metric, state):
        return
    if isinstance(metric, FeatureDensity):
        yield from _densities(np.asarray(metric.compute(state)), names)
    elif isinstance(metric, ModelLoss):
        yield "Loss of the model", functools.partial(loss_bars, pair, names=names)
    elif isinstance(metric, L0Histogram):
        draw = functools.partial(l0_histogram, pair, metric.bin_edges, names)
        yield "Active features per vector", draw


def _has_seen(metric: AbstractMetric[Any], state: Any) -> bool:
    values = jax.tree.leaves(metric.compute(state))
    return all(np.isfinite(value).all() for value in values) and any(map(np.any, values))


def _densities(densities: np.ndarray, names: tuple[str, ...] | None) -> Iterator[tuple[str, Draw]]:
    """A figure for every few components: more lines in one could not be told apart."""
    title = "Density of features"
    if names is None or len(names) <= _MOST_LINES:
        yield title, functools.partial(density_histogram, densities, names)
        return
    for start in range(0, len(names), _MOST_LINES):
        some = slice(start, start + _MOST_LINES)
        draw = functools.partial(density_histogram, densities[some], names[some])
        yield f"{title}, {', '.join(names[some])}", draw


def _has_score(result: "Evaluation") -> bool:
    """Whether all components have a score, and a sparsity to draw it against."""
    names = (f"{n}/{component}" for n in ("l0", "ce_loss_score") for component in result.names)
    return all(math.isfinite(result.values.get(name, math.nan)) for name in names)
