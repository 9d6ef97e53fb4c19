"""The losses of a model: unchanged, with reconstructions, and ablated."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .._configuration import brief
from .given import is_evaluation, is_pair, labels, numbers, of_components, value_of
from .pareto import WITHIN_95
from .style import BLUE, drawing_on, leave_room, mark_cut, shown, write

_KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "source": ("clean", {"facecolor": "#BBBBBB"}),
    "with_reconstruction": ("reconstructed", {"facecolor": BLUE}),
    "with_zero_ablation": ("zero-ablated", {"facecolor": "white", "hatch": "/////"}),
    "with_mean_ablation": ("mean-ablated", {"facecolor": "white", "hatch": "/////"}),
}
_OF_EVALUATION = ("source", "with_reconstruction", "with_zero_ablation")
_LONGEST = 2.0  # times the largest loss without ablation


def loss_bars(
    losses: Any,
    errors: Any = None,
    names: Sequence[str] | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw the model's loss for each component: unchanged, with its reconstruction, and with zeros.

    Error bars are 1.96 standard errors. The number of each loss stands beside its bar. Bars of
    ablations that are more than twice as long as the others are cut off, and marked so.

    **Arguments:**

    - `losses`: an `Evaluation`; or `(metric, state)` of a `ModelLoss`; or its value, a mapping from
        `source`, `with_reconstruction` and `with_zero_ablation` (or `with_mean_ablation`) to
        `[component]`, in nats per token.
    - `errors`: the standard errors, a mapping as `losses` is. An `Evaluation` brings them, and so
        does a metric with its state.
    - `names`: the names of the components. An `Evaluation` brings them.
    - `ax`: the axes to draw on; by default those of a new figure.

    **Returns:** the axes.

    **Raises:** `TypeError` for what is no mapping of numbers; `ValueError` for other losses, names
    or shapes than expected, and numbers that are not finite.

    !!! Example

        >>> from jax_sae_metrics import plot
        >>> losses = {"source": 3.1, "with_reconstruction": 3.2, "with_zero_ablation": 9.0}
        >>> ax = plot.loss_bars(losses)
        >>> ax.get_xlabel()
        'loss (nats per token)'
    """
    if is_evaluation(losses):
        names = losses.names
        pairs = {kind: of_components(losses, f"ce_loss/{kind}") for kind in _OF_EVALUATION}
        losses, errors = ({kind: pair[i] for kind, pair in pairs.items()} for i in (0, 1))
    elif is_pair(losses) and errors is None:
        errors = losses[0].standard_error(losses[1])
    values = _rows("losses", value_of(losses))
    bars = {} if errors is None else _rows("errors", errors, has_nan=True)
    shapes = [{kind: row.shape for kind, row in each.items()} for each in (values, bars)]
    if len({*shapes[0].values()}) > 1 or (bars and shapes[0] != shapes[1]):
        raise ValueError(
            "losses and errors: expected all of them for the same components, got shapes "
            f"{shapes[0]} and {shapes[1]}."
        )
    components = labels(names, len(values["source"]))
    with drawing_on(ax, height_of_bars(len(components))) as ax:
        _draw(ax, values, bars)
        ax.set_yticks(range(len(components)), [shown(name) for name in components])
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.set_xlabel(f"loss (nats per token{'; bars: 95%' if bars else ''})")
    return ax


def height_of_bars(num_components: int) -> float:
    """The height of a figure in which the numbers beside the bars do not touch, in inches."""
    return max(1.6, 0.6 + 0.4 * num_components)


def _rows(name: str, given: Any, has_nan: bool = False) -> dict[str, np.ndarray]:
    """The losses of each kind, `[component]`."""
    if not isinstance(given, Mapping):
        raise TypeError(f"{name}: expected a mapping of {', '.join(_KINDS)}, got {brief(given)}.")
    if not {"source", "with_reconstruction"} <= given.keys() <= _KINDS.keys():
        raise ValueError(
            f"{name}: expected source, with_reconstruction, and with_zero_ablation or "
            f"with_mean_ablation, got {', '.join(map(str, given))}."
        )
    return {
        kind: numbers(f"{name}[{kind!r}]", given[kind], "component?", has_nan=has_nan).reshape(-1)
        for kind in _KINDS
        if kind in given
    }


def _draw(ax: Axes, values: dict[str, np.ndarray], bars: dict[str, np.ndarray]) -> None:
    """A group of bars for each component, the first on top."""
    height = 0.8 / len(values)
    longest = max(values[kind].max() for kind in ("source", "with_reconstruction"))
    cut = _LONGEST * float(longest)
    for index, (kind, row) in enumerate(values.items()):
        label, style = _KINDS[kind]
        y = np.arange(len(row)) + (index - (len(values) - 1) / 2) * height
        lengths = np.minimum(row, cut)
        ax.barh(y, lengths, 0.85 * height, edgecolor="black", linewidth=0.6, label=label, **style)
        errors = np.nan_to_num(bars[kind]) if bars else np.zeros(len(row))
        reach = np.where(row > cut, 0, WITHIN_95 * errors)
        if bars:
            ax.errorbar(lengths, y, xerr=reach, linestyle="none", color="black", elinewidth=0.8)
        for place, value, end in zip(y, row, lengths + reach, strict=True):
            if value > cut:
                mark_cut(ax, 0.93 * cut, place, (2.0, 6.0))
            write(ax, f"{value:#.4g}", (end, place), (2, 0))
    ax.set_xlim(0, 1.15 * ax.dataLim.x1)
    ax.set_ylim(len(values["source"]) - 0.5, -0.5)
    leave_room(ax, 1.5)
    ax.legend(loc="upper right", ncols=3, handlelength=1.2, columnspacing=1)
