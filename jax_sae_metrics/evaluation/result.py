"""The result of an evaluation: numbers with errors, and ways to show them."""

import dataclasses
import functools
import json
import math
import os
from typing import Any

from .._configuration import brief
from .._core import AbstractMetric, difference
from .._core.metric import check_metric
from .._output import scalars
from .places import MEAN, Place, component_names, places, with_names, without_names
from .saved import load, save
from .table import Table, shown

_ERROR, _ALL = "/standard_error", "all"


@dataclasses.dataclass(frozen=True, repr=False)
class Evaluation:
    """A metric, its state, and what they say: values with standard errors by name.

    `evaluate` returns one. Make one of any metric and its state to have the tables, the figures and
    the report for them. `print(result)` shows a table with a row for each result and a column for
    each component.

    **Arguments:**

    - `metric`: the metric that was counted with, a collection as a rule; `metric.compute(state)`
        has the results per feature too.
    - `state`: its state. Merge, save or resume it as any other.
    - `about`: what a reader should know, for the report: versions, device, command. Add to it what
        only you know, such as `result.about["seed"] = "0"`.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> from jax_sae_metrics.evaluation import Evaluation
        >>> metric = jsm.MetricCollection({"l0": jsm.L0Norm(), "l1": jsm.L1AbsoluteLoss()})
        >>> state = metric.update(
        ...     metric.init(), learned_activations=jnp.array([[1.0, 0.0, 1.0], [0.0, 3.0, 0.0]])
        ... )
        >>> print(Evaluation(metric, state))
                  value
        l0  1.50 ± 0.50
        l1  2.50 ± 0.50
    """

    metric: AbstractMetric[Any]
    state: Any
    about: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        check_metric("metric", self.metric)

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the components; none if the metric has no component axis."""
        return component_names(self.metric)

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
        metric, state = without_names(self.metric, self.state)
        pairs = difference(metric, state, self.names.index(one), self.names.index(other))
        return {name: (float(value), float(error)) for name, (value, error) in pairs.items()}

    def difference_from(self, other: "Evaluation") -> dict[str, tuple[float, float]]:
        """The values of this result minus those of another one, with their standard errors.

        The errors are those of independent measurements, the root of the sum of both squares. Where
        both results are of the same texts, errors of the same sign cancel, and the true ones are
        smaller as a rule: to have these, evaluate both autoencoders in one call and use
        `difference`. Numbers with an error are compared, by name. Means are left out unless both
        results have the same components.

        **Raises:** `TypeError` for what is no result; `ValueError` if no number is in both.
        """
        if not isinstance(other, Evaluation):
            raise TypeError(f"other: expected an Evaluation, got {brief(other)}.")
        names = [name for name in self.errors if name in other.errors]
        if self.names != other.names:
            names = [name for name in names if self._places[name].component != MEAN]
        if not names:
            raise ValueError(
                "other: no number is in both results. They are compared by name: give the "
                "components of both the same names."
            )
        return {
            name: (
                self.values[name] - other.values[name],
                math.hypot(self.errors[name], other.errors[name]),
            )
            for name in names
        }

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
            result, component = self._places[name]
            rows.append(
                {
                    "metric": result,
                    "component": component,
                    "value": value,
                    "standard_error": self.errors.get(name, math.nan),
                }
            )
        return pandas.DataFrame(rows)

    def to_markdown(self, *results: str) -> str:
        """The table for Markdown: all rows, or those of the named results, in this order.

        **Raises:** `ValueError` for a name that no row has.
        """
        return self._table().only(*results).to_markdown()

    def to_latex(self, *results: str) -> str:
        """The table as a LaTeX `tabular`, with the rules of booktabs. Rows as for `to_markdown`."""
        return self._table(r" $\pm$ ").only(*results).to_latex()

    def __str__(self) -> str:
        return str(self._table())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self._table().to_html()

    def plot(self) -> Any:
        """A `matplotlib` figure with a panel for each thing that can be drawn of the metrics.

        `jax_sae_metrics.plot` has functions for single ones.

        **Raises:** `ModuleNotFoundError` without matplotlib; `ValueError` if the metrics have
        nothing to draw.
        """
        from .figures import drawn_together  # which needs matplotlib

        return drawn_together(self)

    def report(self, title: str = "Evaluation of sparse autoencoders") -> str:
        """A page of HTML in one file: the table, figures, the definitions used, and `about`.

        **Raises:** `ModuleNotFoundError` without the extra `report`.
        """
        from .report import page  # which needs the extra

        return page(self, title)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state, the metric and `about` to an `.npz` file.

        `python -m jax_sae_metrics report FILE` makes the report of it, on any machine.
        """
        save(path, self.metric, self.state, self.about)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], metric: AbstractMetric[Any] | None = None
    ) -> "Evaluation":
        """The result in a file that `save`, or `np.savez(path, **metric.state_dict(state))`, wrote.

        **Arguments:**

        - `path`: of the file. Nothing in it is run.
        - `metric`: the metric whose state it is; needed if it has metrics of your own.

        **Raises:** `ValueError` for a file that holds something else, or a state of another metric.
        """
        return cls(*load(path, metric))

    @functools.cached_property
    def _numbers(self) -> dict[str, float]:
        return scalars(self._named, self.state, errors=True)

    @functools.cached_property
    def _places(self) -> dict[str, Place]:
        return places(self._named)

    @functools.cached_property
    def _named(self) -> AbstractMetric[Any]:
        return with_names(self.metric, self.names)

    def _differences(self) -> Table:
        """The differences of the components from the first, as a table."""
        first, *others = self.names
        pairs = {f"{other} - {first}": self.difference(other, first) for other in others}
        results = next(iter(pairs.values()))
        rows = {result: [shown(*of[result]) for of in pairs.values()] for result in results}
        return Table([*pairs], rows)

    def _table(self, between: str = " ± ") -> Table:
        """A row for each result, with a cell for each component, for their mean, or for all."""
        rows: dict[str, dict[str, str]] = {}
        for name, value in self.values.items():
            result, component = self._places[name]
            cell = shown(value, self.errors.get(name), between)
            rows.setdefault(result, {})[component or _ALL] = cell
        columns = [*self.names]
        # The mean of one component is its value.
        columns += [MEAN] if len(self.names) > 1 else []
        columns += [_ALL] if any(_ALL in cells for cells in rows.values()) else []
        cells = {result: [of.get(name, "") for name in columns] for result, of in rows.items()}
        return Table(columns if self.names else ["value"], cells)
