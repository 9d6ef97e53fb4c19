"""Pictures of the ratios: how many times longer than its baseline everything takes."""

import collections
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .measure import Figure, Measurement, Quartiles
from .report import Result, in_seconds, times

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = ("#2a6f97", "#f4a259", "#5b8e7d", "#bc4b51")
_GREY = "#555555"
_BAR_INCHES, _PANEL_INCHES, _WIDTH_INCHES = 0.2, 0.8, 7.5
_TITLE_INCHES, _LEGEND_INCHES, _WIDER_INCHES = 0.75, 0.35, 1.5
_MAX_COLUMNS = 2


def draw(
    folder: Path, device: str, environment: dict[str, Any], results: Sequence[Result]
) -> list[str]:
    """Draw a picture for each figure that results belong to; return their file names."""
    import matplotlib

    matplotlib.use("Agg")
    names = []
    for figure in dict.fromkeys(result.comparison.figure for result in results):
        mine = [result for result in results if result.comparison.figure == figure]
        subtitle = f"{device} · JAX {environment['versions']['jax']} · {environment['date'][:10]}"
        _draw_figure(folder / f"{figure.name}.png", figure, subtitle, mine)
        names.append(f"{figure.name}.png")
    return names


def _draw_figure(path: Path, figure: Figure, subtitle: str, results: Sequence[Result]) -> None:
    import matplotlib.pyplot as plt

    panels: dict[str, list[Result]] = {}
    for result in results:
        panels.setdefault(result.comparison.panel, []).append(result)
    series = _series(results)
    colours = dict(zip(series, itertools.cycle(_COLOURS), strict=False))

    columns = min(len(panels), _MAX_COLUMNS)
    rows = math.ceil(len(panels) / columns)
    num_bars = max(len(_labels(mine)) * len(_series(mine)) for mine in panels.values())
    below = _LEGEND_INCHES if len(series) > 1 else 0.0
    width, height = (
        _WIDTH_INCHES * columns + _WIDER_INCHES,
        rows * (_BAR_INCHES * num_bars + _PANEL_INCHES) + _TITLE_INCHES + below,
    )
    picture, axes = plt.subplots(
        rows, columns, figsize=(width, height), squeeze=False, sharex=True, layout="constrained"
    )
    picture.get_layout_engine().set(
        rect=(0, below / height, 1, 1 - (_TITLE_INCHES + below) / height), hspace=0.03, wspace=0.03
    )
    top = {"ha": "center", "va": "top", "wrap": True}
    picture.text(0.5, 1 - 0.12 / height, figure.title, fontsize=13, fontweight="bold", **top)
    picture.text(0.5, 1 - 0.42 / height, subtitle, fontsize=9.5, color=_GREY, **top)
    for axis, panel in itertools.zip_longest(axes.flat, panels):
        if panel is None:
            axis.set_visible(False)
            continue
        _draw_panel(axis, panel, panels[panel], colours)
        axis.set_xlabel(figure.axis)
        axis.tick_params(labelbottom=True)
    _limit(axes[0, 0], results)
    if below:
        handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in colours.values()]
        place = {"loc": "lower center", "bbox_to_anchor": (0.5, 0), "ncols": len(series)}
        picture.legend(handles, list(colours), frameon=False, **place)
    picture.savefig(path, dpi=120, facecolor="white")
    plt.close(picture)


def _draw_panel(
    axis: "Axes", panel: str, results: Sequence[Result], colours: dict[str, str]
) -> None:
    labels, series = _labels(results), _series(results)
    height = 0.8 / len(series)
    for result in results:
        offset = height * (series.index(result.comparison.series) - (len(series) - 1) / 2)
        for measurement, ratio in _with_ratio([result]):
            place = labels.index(_label(measurement, results)) + offset
            # From the floor at 1, to either side.
            axis.barh(
                place,
                ratio.median - 1,
                left=1,
                height=0.9 * height,
                color=colours[result.comparison.series],
            )
            axis.plot([ratio.lower, ratio.upper], [place, place], color=_GREY, linewidth=1.2)
            axis.annotate(
                _value(measurement, ratio),
                (max(ratio.upper, ratio.median, 1), place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
    axis.axvline(1, color="black", linewidth=1)
    axis.set_xscale("log")
    axis.set_yticks(range(len(labels)), labels, fontsize=9)
    axis.set_ylim(len(labels) - 0.5, -0.5)
    axis.set_title(panel, fontsize=11)
    axis.grid(axis="x", which="both", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)


def _limit(axis: "Axes", results: Sequence[Result]) -> None:
    """Room for all bars and the numbers beside them, and ticks that people read."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    ratios = [ratio for _, ratio in _with_ratio(results)]
    lowest = min(1.0, *(ratio.lower for ratio in ratios))
    highest = max(1.0, *(ratio.upper for ratio in ratios))
    span = max(highest / lowest, 1.05)
    low, high = lowest / span**0.04, highest * span**0.25
    axis.set_xlim(low, high)
    axis.xaxis.set_major_locator(FixedLocator(_ticks(low, high)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers: powers of ten and parts of them, or steps where there is little between."""
    if high / low > 3:
        digits = (1,) if high / low > 500 else (1, 2, 5)
        powers = range(-6, 7)
        ticks = [digit * 10.0**power for power in powers for digit in digits]
        return [tick for tick in ticks if low <= tick <= high]
    step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if (high - low) / step <= 8)
    return [round(step * i, 2) for i in range(math.ceil(low / step), int(high / step) + 1)]


def _with_ratio(results: Sequence[Result]) -> list[tuple[Measurement, Quartiles]]:
    """All but the baselines."""
    everything = [measurement for result in results for measurement in result.measurements]
    return [(m, m.ratio) for m in everything if m.ratio is not None]


def _series(results: Sequence[Result]) -> list[str]:
    """What is told apart by colour, in order."""
    return list(dict.fromkeys(result.comparison.series for result in results))


def _labels(results: Sequence[Result]) -> list[str]:
    """One for each contender that has a ratio in any of the results."""
    return list(dict.fromkeys(_label(m, results) for m, _ in _with_ratio(results)))


def _label(measurement: Measurement, results: Sequence[Result]) -> str:
    """The name, and what it is compared with unless that is the same as for most."""
    name, against = measurement.contender.name, measurement.contender.against
    counts = collections.Counter(m.contender.against for m, _ in _with_ratio(results))
    ((usual, _),) = counts.most_common(1)
    is_said = against == usual or str(against).startswith(name.partition(", ")[0])
    return name if is_said else f"{name}\n(against {against})"


def _value(measurement: Measurement, ratio: Quartiles) -> str:
    shown = f"{ratio.median:.3f}x" if ratio.median < 2 else times(ratio.median)
    each = measurement.nanoseconds_per_item
    return shown if each is None else f"{shown} ({in_seconds(each * 1e-9)} each)"
