"""Results as tables for people and as JSON for programs."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .measure import Comparison, Mean, Measurement, Quartiles


@dataclasses.dataclass(frozen=True)
class Facts:
    """Rows of facts that are known without a clock, all with the same keys."""

    suite: str
    title: str
    rows: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Result:
    """A comparison and what was measured, without the arrays that it took."""

    comparison: Comparison
    measurements: list[Measurement]

    @classmethod
    def of(cls, comparison: Comparison, measurements: list[Measurement]) -> "Result":
        """Drop the functions that were timed: they hold the arrays."""
        bare = [
            dataclasses.replace(m, contender=_without_functions(m.contender)) for m in measurements
        ]
        return cls(dataclasses.replace(comparison, contenders=[]), bare)


def print_result(result: Result) -> None:
    """A table, with a line for each contender."""
    comparison = result.comparison
    print(f"\n{comparison.suite}: {comparison.title}")
    rounds = result.measurements[0].rounds
    print(f"{rounds} rounds; in brackets the quartiles; after ± what the mean is known to, at 95%")
    rows = [_cells(measurement) for measurement in result.measurements]
    _print_table([{key: row[key] for key in _used_keys(rows)} for row in rows])
    for note in comparison.notes:
        print(f"  note: {note}")


def print_facts(facts: Facts) -> None:
    """A table of the rows as they are."""
    print(f"\n{facts.suite}: {facts.title}")
    _print_table([{key: str(value) for key, value in row.items()} for row in facts.rows])


def write_json(
    path: Path,
    environment: dict[str, Any],
    is_quick: bool,
    results: Sequence[Result],
    facts: Sequence[Facts],
    skipped: Sequence[str],
) -> None:
    """Write everything that was found, times in seconds."""
    content = {
        "environment": environment,
        "is_quick": is_quick,
        "skipped": list(skipped),
        "comparisons": [_as_json(result) for result in results],
        "facts": [dataclasses.asdict(table) for table in facts],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


def in_seconds(seconds: float) -> str:
    """A time with three digits and a unit."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def in_bytes(size: int) -> str:
    """A size in bytes with three digits and a unit."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if abs(size) >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} B"


def times(ratio: float) -> str:
    """A ratio with the digits that matter: three, or two after the point near 1."""
    return f"{ratio:.0f}x" if ratio >= 100 else f"{ratio:.1f}x" if ratio >= 10 else f"{ratio:.2f}x"


def _without_functions(contender: Any) -> Any:
    return dataclasses.replace(contender, run=_nothing, wait=_nothing, prepare=None)


def _nothing() -> None:
    """Stands in for the functions that were timed."""


def _cells(measurement: Measurement) -> dict[str, str]:
    contender, seconds, ratio = measurement.contender, measurement.seconds, measurement.ratio
    per_item, more = measurement.nanoseconds_per_item, measurement.temporary_bytes_more
    return {
        "": contender.name,
        "time": in_seconds(seconds.median),
        "[time]": f"[{in_seconds(seconds.lower)}, {in_seconds(seconds.upper)}]",
        "each": "" if per_item is None else f"{per_item:.3g} ns",
        "ratio": "" if ratio is None else _precisely(ratio.median),
        "[ratio]": "" if ratio is None else f"[{ratio.lower:.3g}, {ratio.upper:.3g}]",
        "mean": _optional(measurement.mean_ratio, _with_confidence),
        "against": contender.against or "",
        "temporaries": _optional(contender.temporary_bytes, in_bytes),
        "more": _optional(more, in_bytes),
        "compile": _optional(contender.compile_seconds, in_seconds),
    }


def _precisely(ratio: float) -> str:
    return f"{ratio:.3f}x" if ratio < 2 else times(ratio)


def _with_confidence(mean: Mean) -> str:
    digits = 3 if mean.mean < 2 else 2
    return f"{mean.mean:.{digits}f} ± {mean.half_width:.{digits}f}"


def _optional(value: Any, show: Any) -> str:
    return "" if value is None else show(value)


def _used_keys(rows: list[dict[str, str]]) -> list[str]:
    return [key for key in rows[0] if any(row[key] for row in rows)]


def _print_table(rows: list[dict[str, str]]) -> None:
    """Print a table with names to the left, and all else to the right."""
    lines = [list(rows[0])] + [list(row.values()) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for name, *cells in lines:
        padded = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        print("  ".join(["", name.ljust(widths[0]), *padded]).rstrip())


def _as_json(result: Result) -> dict[str, Any]:
    comparison = result.comparison
    return {
        "suite": comparison.suite,
        "title": comparison.title,
        "shape": comparison.shape,
        "dtype": comparison.dtype,
        "notes": list(comparison.notes),
        "measurements": [
            {
                "name": measurement.contender.name,
                "seconds": _rounded(measurement.seconds),
                "rounds": measurement.rounds,
                "calls_per_round": measurement.calls,
                "against": measurement.contender.against,
                "ratio": measurement.ratio and _rounded(measurement.ratio),
                "mean_ratio": measurement.mean_ratio and _rounded(measurement.mean_ratio),
                "items": measurement.contender.items,
                "nanoseconds_per_item": measurement.nanoseconds_per_item,
                "compile_seconds": measurement.contender.compile_seconds,
                "temporary_bytes": measurement.contender.temporary_bytes,
                "temporary_bytes_more": measurement.temporary_bytes_more,
            }
            for measurement in result.measurements
        ],
    }


def _rounded(statistics: Quartiles | Mean) -> dict[str, float]:
    """Five digits are more than a clock has."""
    return {key: float(f"{v:.5g}") for key, v in dataclasses.asdict(statistics).items()}
