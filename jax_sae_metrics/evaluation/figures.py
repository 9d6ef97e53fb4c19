"""What can be drawn of a result."""

import functools
import io
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import jax
import matplotlib
import matplotlib.pyplot as plt
import numpy as np

from .._core import AbstractMetric, MetricCollection
from .._metric.fidelity import ModelLoss
from .._metric.sparsity import FeatureDensity, L0Histogram
from ..plot import STYLE, density_histogram, l0_histogram, loss_bars, pareto
from ..plot.loss_bars import height_of_bars
from .places import component_names, without_names

if TYPE_CHECKING:
    from .result import Evaluation

Draw = Callable[[Any], Any]  # on the axes that it is given, or on new ones; returns them
_L0, _SCORE = "l0", "ce_loss_score"


def drawn_together(result: "Evaluation") -> Any:
    """One figure with a panel for each."""
    drawings = dict(_drawings(result))
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
            draw(ax)
            ax.set_title(title)
    return figure


def figures(result: "Evaluation") -> dict[str, str]:
    """Each as an SVG element by its title."""
    return {title: _svg(draw) for title, draw in _drawings(result)}


def _svg(draw: Draw) -> str:
    file = io.StringIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": "jax_sae_metrics"}):
        figure = draw(None).figure
        figure.savefig(file, format="svg", metadata={"Date": None})
        plt.close(figure)
    text = file.getvalue()
    return text[text.index("<svg") :]


def _drawings(result: "Evaluation") -> Iterator[tuple[str, Draw]]:
    """What there is to draw, by its title."""
    for name, metric, state in _metrics("", result.metric, result.state):
        inner, state = without_names(metric, state)
        if type(inner) in _DRAWN and _has_seen(inner, state):
            title, draw = _DRAWN[type(inner)]
            names = component_names(metric) or None
            yield f"{title}: {name}", functools.partial(draw, inner, state, names)
    if len(result.names) > 1 and _has_all(result, _SCORE) and _has_all(result, _L0):
        yield "Sparsity and score", functools.partial(_draw_pareto, result)


def _metrics(
    name: str, metric: AbstractMetric[Any], state: Any
) -> Iterator[tuple[str, AbstractMetric[Any], Any]]:
    """The metrics of collections inside of collections, with their whole names and states."""
    if not isinstance(metric, MetricCollection):
        yield name or type(metric).__name__, metric, state
        return
    for key, one in metric.metrics.items():
        yield from _metrics(f"{name}/{key}" if name else key, one, state[key])


def _has_seen(metric: AbstractMetric[Any], state: Any) -> bool:
    values = jax.tree.leaves(metric.compute(state))
    return all(np.isfinite(value).all() for value in values) and any(map(np.any, values))


def _draw_density(metric: Any, state: Any, names: Any, ax: Any) -> Any:
    return density_histogram((metric, state), names, ax=ax)


def _draw_losses(metric: Any, state: Any, names: Any, ax: Any) -> Any:
    return loss_bars((metric, state), names=names, ax=ax)


def _draw_l0(metric: Any, state: Any, names: Any, ax: Any) -> Any:
    return l0_histogram((metric, state), metric.bin_edges, names, ax=ax)


def _draw_pareto(result: "Evaluation", ax: Any) -> Any:
    (l0, l0_errors), (score, score_errors) = (_of_components(result, n) for n in (_L0, _SCORE))
    return pareto(l0, score, l0_errors, score_errors, series=result.names, ax=ax)


def _has_all(result: "Evaluation", name: str) -> bool:
    """Whether all components have a value of this name."""
    values = (result.values.get(f"{name}/{component}", math.nan) for component in result.names)
    return all(map(math.isfinite, values))


def _of_components(result: "Evaluation", name: str) -> tuple[list[float], list[float]]:
    """The values of a result of all components, and their errors."""
    keys = [f"{name}/{component}" for component in result.names]
    return [result.values[key] for key in keys], [result.errors.get(key, 0.0) for key in keys]


_DRAWN: dict[type, tuple[str, Callable[..., Any]]] = {
    FeatureDensity: ("Density of features", _draw_density),
    ModelLoss: ("Loss of the model", _draw_losses),
    L0Histogram: ("Active features per vector", _draw_l0),
}
