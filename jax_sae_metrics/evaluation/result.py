"""The result of an evaluation: numbers with errors, and ways to show them."""

import dataclasses
import functools
import html
import json
import math
from typing import Any

from .._core import MetricCollection, PerComponent, difference
from .._output import scalars

_ERROR, _MEAN = "/standard_error", "mean"


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What `evaluate` returns: values with standard errors by name, and the state behind them.

    `print(result)` shows a table with a row for each result and a column for each component.

    **Arguments:**

    - `names`: the names of the components.
    - `metric`: the collection that was counted with; `metric.compute(state)` has the results per
        feature too.
    - `state`: its state. Merge, save or resume it as any other.
    """

    names: tuple[str, ...]
    metric: MetricCollection
    state: Any

    @functools.cached_property
    def values(self) -> dict[str, float]:
        """Every number by name, such as `ce_loss_score/block_0`; means over components too."""
        return {n: value for n, value in self._numbers.items() if not n.endswith(_ERROR)}

    @functools.cached_property
    def errors(self) -> dict[str, float]:
        """The standard error of each number that has one, by the same names."""
        numbers = self._numbers.items()
        return {n.removesuffix(_ERROR): value for n, value in numbers if n.endswith(_ERROR)}

    def difference(self, one: str, other: str) -> dict[str, tuple[float, float]]:
        """The values of one component minus those of another, with their standard errors.

        Components saw the same tokens, so that the error is that of paired differences (see
        `jax_sae_metrics.difference`). Results without a covariance are left out.

        **Raises:** `ValueError` for a name that no component has.
        """
        for name in (one, other):
            if name not in self.names:
                raise ValueError(f"{name!r}: expected one of the components {self.names}.")
        inner = {n: m.metric for n, m in self.metric.metrics.items() if isinstance(m, PerComponent)}
        places = self.names.index(one), self.names.index(other)
        pairs = difference(MetricCollection(inner), {n: self.state[n] for n in inner}, *places)
        return {name: (float(value), float(error)) for name, (value, error) in pairs.items()}

    def to_dict(self) -> dict[str, dict[str, float]]:
        """`{name: {"value": ..., "standard_error": ...}}`; no error where there is none."""
        return {
            name: {"value": value}
            | ({"standard_error": self.errors[name]} if name in self.errors else {})
            for name, value in self.values.items()
        }

    def to_json(self) -> str:
        """`to_dict` as JSON; what is not finite is null."""

        def finite(number: float) -> float | None:
            return number if math.isfinite(number) else None

        return json.dumps(
            {name: {k: finite(v) for k, v in one.items()} for name, one in self.to_dict().items()},
            indent=1,
        )

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame` with a row per component and result, and columns for both numbers.

        **Raises:** `ImportError` without pandas.
        """
        import pandas  # type: ignore[import-untyped]

        rows = []
        for name, value in self.values.items():
            result, component = self._split(name)
            rows.append(
                {
                    "metric": result,
                    "component": component,
                    "value": value,
                    "standard_error": self.errors.get(name, math.nan),
                }
            )
        return pandas.DataFrame(rows)

    def to_markdown(self) -> str:
        """The table for Markdown."""
        head, *rows = self._table(" ± ")
        lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)

    def to_latex(self) -> str:
        """The table as a LaTeX `tabular`."""
        head, *rows = self._table(r" $\pm$ ")
        lines = [" & ".join(_in_latex(cell) for cell in cells) + r" \\" for cells in (head, *rows)]
        body = "\n".join([r"\hline", lines[0], r"\hline", *lines[1:], r"\hline"])
        return f"\\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}\n{body}\n\\end{{tabular}}"

    def __str__(self) -> str:
        table = self._table(" ± ")
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = (
            [cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])] for cells in table
        )
        return "\n".join("  ".join(cells).rstrip() for cells in lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head, *rows = self._table(" ± ")
        lines = [_row(head, "th"), *(_row(cells, "td") for cells in rows)]
        return f"<table>{''.join(lines)}</table>"

    @functools.cached_property
    def _numbers(self) -> dict[str, float]:
        return scalars(self.metric, self.state, errors=True)

    def _split(self, name: str) -> tuple[str, str | None]:
        """The result and the component, or `mean`, that a number is of; None if it is of all."""
        result, _, component = name.rpartition("/")
        return (result, component) if component in (*self.names, _MEAN) else (name, None)

    def _table(self, between: str) -> list[list[str]]:
        """A row for each result, with a cell for each component and for their mean."""
        columns = [*self.names, _MEAN]
        rows: dict[str, dict[str, str]] = {}
        for name, value in self.values.items():
            result, component = self._split(name)
            shown = _shown(value, self.errors.get(name), between)
            rows.setdefault(result, {})[component or _MEAN] = shown
        cells = ([result, *(of.get(c, "") for c in columns)] for result, of in rows.items())
        return [["", *columns], *cells]


def _shown(value: float, error: float | None, between: str) -> str:
    """A number with the digits that its error leaves, two of the error's own."""
    if error is None or not math.isfinite(error) or error <= 0:
        return f"{value:.4g}"
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{decimals}f}{between}{error:.{decimals}f}"


def _in_latex(cell: str) -> str:
    return cell.replace("_", r"\_").replace("%", r"\%")


def _row(cells: list[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"
