"""A table of numbers, in the languages of terminals, pages and papers."""

import dataclasses
import html
import math
import re
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of cells by name, under the names of the columns."""

    columns: Sequence[str]
    rows: Mapping[str, Sequence[str]]

    def only(self, *names: str) -> "Table":
        """The rows of these names, in this order; all rows if there are no names."""
        for name in names:
            if name not in self.rows:
                raise ValueError(f"{name!r}: expected one of the results {tuple(self.rows)}.")
        return Table(self.columns, {name: self.rows[name] for name in names or self.rows})

    def __str__(self) -> str:
        lines = self._lines()
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = (
            [cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])] for cells in lines
        )
        return "\n".join("  ".join(cells).rstrip() for cells in aligned)

    def to_markdown(self) -> str:
        """The table for Markdown."""
        head, *rows = self._lines()
        lines = [head, ["---", *["---:"] * len(self.columns)], *rows]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)

    def to_latex(self) -> str:
        """The table as a LaTeX `tabular`, with the rules of booktabs."""
        head, *rows = (" & ".join(map(_in_latex, cells)) + r" \\" for cells in self._lines())
        body = "\n".join([r"\toprule", head, r"\midrule", *rows, r"\bottomrule"])
        return f"\\begin{{tabular}}{{l{'r' * len(self.columns)}}}\n{body}\n\\end{{tabular}}"

    def to_html(self) -> str:
        """The table as an HTML element."""
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in ("", *self.columns))
        rows = "".join(
            f"<tr><td>{_breakable(name)}</td>"
            f"{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>"
            for name, cells in self.rows.items()
        )
        return f"<table><tr>{head}</tr>{rows}</table>"

    def _lines(self) -> list[list[str]]:
        return [["", *self.columns], *([name, *cells] for name, cells in self.rows.items())]


def shown(value: float, error: float | None, between: str = " ± ") -> str:
    """A number with the digits that its error leaves, two of the error's own.

    An error beyond the seven digits of a float32 is of rounding, and is not shown.
    """
    is_resolved = error is not None and math.isfinite(error) and error > 1e-6 * abs(value)
    if error is None or not is_resolved:
        return f"{value:.4g}"
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{decimals}f}{between}{error:.{decimals}f}"


def _in_latex(cell: str) -> str:
    return cell.replace("_", r"\_").replace("%", r"\%")


def _breakable(name: str) -> str:
    """A name that a narrow column may break between its parts."""
    return re.sub("([/_])", r"\1<wbr>", html.escape(name))
