"""What a score costs: runs by their L0."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes

from .._configuration import brief
from .given import is_evaluation, numbers, of_components
from .style import drawing_on, looks, plain_log_ticks, shown, write, write_legend

WITHIN_95 = 1.96  # standard errors
_MOST_BESIDE = 6  # series whose legend finds a place between the points


def pareto(
    l0: Any,
    score: Any = None,
    l0_errors: Any = None,
    score_errors: Any = None,
    series: Sequence[str] | None = None,
    *,
    labels: Sequence[str] | None = None,
    score_label: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw runs as points, by their L0 and a score, with error bars of 1.96 standard errors.

    Runs of one series are joined by a line, in order of L0. The axis of L0 is logarithmic. The
    difference of two runs on the same texts is known better than their bars suggest: see
    `Evaluation.difference`.

    **Arguments:**

    - `l0`: active features per vector, `[run]`; or an `Evaluation`, whose components are the runs.
    - `score`: what is gained by them, `[run]`; of an `Evaluation`, the name of a result, such as
        `"explained_variance"`, by default `"ce_loss_score"`. It brings the errors and the labels.
    - `l0_errors`, `score_errors`: standard errors, `[run]`; none are drawn without them.
    - `series`: for each run, the name of what it belongs to.
    - `labels`: for each run, what is written beside it.
    - `score_label`: what the score is, by default `"loss score"`, or the name of the result.
    - `ax`: the axes to draw on; by default those of a new figure.

    **Returns:** the axes.

    **Raises:** `TypeError` for what are no numbers; `ValueError` for different lengths, L0 that is
    not positive, negative errors, and numbers that are not finite.

    !!! Example

        >>> from jax_sae_metrics import plot
        >>> ax = plot.pareto([20, 40], [0.9, 0.95], score_errors=[0.01, 0.01])
        >>> ax.get_ylabel()
        'loss score (bars: 95%)'
    """
    if is_evaluation(l0):
        labels = l0.names if labels is None and series is None else labels
        score_label = score if score is not None and score_label is None else score_label
        score, score_errors = of_components(l0, "ce_loss_score" if score is None else score)
        l0, l0_errors = of_components(l0, "l0")
    x = numbers("l0", l0, "run")
    if x.min() <= 0:
        raise ValueError(
            f"l0: expected positive numbers, for a logarithmic axis, got {x.min():g}. Leave out "
            "runs without active features."
        )
    y = _for_each_run("score", score, len(x))
    x_bars = None if l0_errors is None else _bars("l0_errors", l0_errors, len(x))
    y_bars = None if score_errors is None else _bars("score_errors", score_errors, len(x))
    for what, given in {"series": series, "labels": labels}.items():
        if given is not None and (isinstance(given, str) or len(given) != len(x)):
            raise ValueError(
                f"{what}: expected {len(x)} names, one for each run, got {brief(given)}."
            )
    of_run = np.array([""] * len(x) if series is None else list(map(str, series)))
    with drawing_on(ax) as ax:
        names = dict.fromkeys(of_run.tolist())
        for look, name in zip(looks(), names, strict=False):
            runs = np.flatnonzero(of_run == name)
            runs = runs[np.argsort(x[runs], kind="stable")]
            ax.errorbar(
                x[runs],
                y[runs],
                xerr=None if x_bars is None else x_bars[runs],
                yerr=None if y_bars is None else y_bars[runs],
                color=look.color,
                marker=look.marker,
                linestyle="none" if series is None else look.dashes,
                elinewidth=0.8,
                label=shown(name),
            )
        for run, label in enumerate(labels or ()):
            write(ax, label, (x[run], y[run]), (3, 5))
        ax.set_xscale("log")
        plain_log_ticks(ax.xaxis, x.min(), x.max())
        if len(names) > _MOST_BESIDE:
            write_legend(ax, len(names), max(map(len, names)), loc="upper left")
        elif series is not None:
            ax.legend(loc="best")
        ax.set_xlabel(_labelled("L0, active features per vector", x_bars))
        ax.set_ylabel(_labelled(shown(score_label or "loss score"), y_bars))
    return ax


def _labelled(label: str, bars: Any) -> str:
    return label if bars is None else f"{label} (bars: 95%)"


def _for_each_run(
    name: str, given: Any, number: int, has_nan: bool = False
) -> Float64[np.ndarray, " run"]:
    array = numbers(name, given, "run", has_nan=has_nan)
    if len(array) != number:
        raise ValueError(
            f"{name}: expected {number} numbers, one for each of l0, got {len(array)}."
        )
    return array


def _bars(name: str, given: Any, number: int) -> Float64[np.ndarray, " run"]:
    array = _for_each_run(name, given, number, has_nan=True)
    if np.any(array < 0):
        raise ValueError(f"{name}: expected standard errors, at least 0, got {brief(given)}.")
    return WITHIN_95 * array
