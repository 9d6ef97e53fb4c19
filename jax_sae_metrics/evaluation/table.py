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
        """The table as a LaTeX `tabular`."""
        head, *rows = (" & ".join(map(_in_latex, cells)) + r" \\" for cells in self._lines())
        body = "\n".join([r"\hline", head, r"\hline", *rows, r"\hline"])
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

    It has at most the seven digits of a float32.
    """
    if error is None or not math.isfinite(value) or not math.isfinite(error) or error <= 0:
        return f"{value:.4g}"
    wanted = 1 - math.floor(math.log10(error))
    most = 6 - math.floor(math.log10(abs(value))) if value else wanted
    decimals = max(0, min(wanted, most))
    shown_error = f"{error:.{decimals}f}" if wanted <= most else f"{error:.1g}"
    return f"{value:.{decimals}f}{between}{shown_error}"


def _in_latex(cell: str) -> str:
    return cell.replace("_", r"\_").replace("%", r"\%")


def _breakable(name: str) -> str:
    """A name that a narrow column may break between its parts."""
    return re.sub("([/_])", r"\1<wbr>", html.escape(name))
