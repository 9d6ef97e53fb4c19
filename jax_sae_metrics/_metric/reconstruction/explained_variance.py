"""How much of the variance of the source activations the reconstruction explains."""

from typing import Any, Literal, TypeAlias, get_args

import equinox as eqx

from ..._configuration import ONLY_READS, check_choice
from ..._inputs import Batch
from ..base import AbstractErrorBars
from .squared_correlation import SquaredCorrelation
from .uncentered_variance import UncenteredVariance
from .variance_of_moments import VarianceOfMoments

_Definition: TypeAlias = Literal[
    "pooled",
    "uncentered",
    "residual_variance",
    "scalar_mean",
    "total_variance",
    "per_dimension_mean",
    "squared_correlation",
]
# All others are read from the same moments, and take each other's states.
_WITH_STATES_OF_THEIR_OWN: dict[str, type[UncenteredVariance] | type[SquaredCorrelation]] = {
    "uncentered": UncenteredVariance,
    "squared_correlation": SquaredCorrelation,
}


class ExplainedVariance(AbstractErrorBars[Any]):
    r"""Portion of the variance of the source activations that the reconstruction explains.

    With source activations $x$, decoded activations $y$, their difference $r = x - y$ and the mean
    $\bar x_d = \frac{1}{N} \sum_n x_{nd}$ over all $N$ unmasked vectors of all batches,

    $$1 - \frac{\sum_{n=1}^{N} \sum_d r_{nd}^2}{\sum_{n=1}^{N} \sum_d (x_{nd} - \bar x_d)^2}.$$

    It is 1 for a perfect reconstruction, 0 for one that always gives the mean, and negative for a
    worse one. Tools mean different things by the name. `definition` selects another:

    - `"uncentered"`: $1 - \sum r_{nd}^2 \big/ \sum x_{nd}^2$. 0 for a reconstruction of zeros;
        close to 1 for any that gives the mean, where the mean is large.
    - `"residual_variance"`: $1 - \sum (r_{nd} - \bar r_d)^2 \big/ \sum (x_{nd} - \bar x_d)^2$.
        Blind to a constant bias: $y = x + c$ gives 1.
    - `"scalar_mean"`: $1 - \sum r_{nd}^2 \big/ \sum (x_{nd} - \bar x)^2$ with one mean $\bar x$ of
        all entries. Too high where the input features have different means.
    - `"total_variance"`: $1 - \sum (r_{nd} - \bar r)^2 \big/ \sum (x_{nd} - \bar x)^2$ with one
        mean of all entries of each. Like `"scalar_mean"`, but blind to a bias that is the same for
        all input features.
    - `"per_dimension_mean"`: the mean over input features of
        $1 - \sum_n r_{nd}^2 \big/ \sum_n (x_{nd} - \bar x_d)^2$. Each has the same weight, however
        little it varies.
    - `"squared_correlation"`: the mean over input features of the squared Pearson correlation of
        $x_{nd}$ and $y_{nd}$ over vectors. From 0 to 1, and blind to a wrong scale, sign or bias of
        each input feature. Where one of both varies 1000 times as much as the other, four digits
        are right; with more, fewer are.

    Means and deviations are kept as `Moments`: where the mean is 1000 and the standard deviation 1,
    the difference of $E[x^2]$ and $E[x]^2$ is off by 20% in float32. The cut into batches does not
    matter.

    **Inputs** of `observe`, `update` and `forward`: `source_activations` and `decoded_activations`,
    floating point, `[*batch, component?, input_feature]`; and if you like `source_mean`,
    `[component?, input_feature]`, which the error bar alone is measured from. `"uncentered"` and
    `"squared_correlation"` do not take it.

    **Result:** float32 `[component?]`, at most 1; NaN where nothing was seen. Where all $x$ are the
    same, there is no variance to explain: NaN if the reconstruction is perfect, minus infinity if
    it is not. With `"per_dimension_mean"` and `"squared_correlation"`, one such input feature is
    enough; with the latter, the result is then NaN, also where all $y$ are the same.

    `"pooled"` and `"uncentered"` have a `standard_error`, as ratios of sums. In the pooled case,
    squared distances are from the mean of the batch, which takes a read of the source activations
    before all others, and are corrected for the variance between batches. The error is within 5% of
    the formula about the mean of all vectors. Where more than 8% of the variance lies between
    batches (they are sorted, drift, or have less than 13 vectors), it is NaN. Over texts it is
    within 10%, and NaN where more than 2% does: batches of less than 50 texts, each about something
    else. Give the `source_mean` of all vectors, if it is known: the error is then right for any
    batches, and nothing is read before.

    **Arguments:**

    - `num_input_features`: size of the last axis.
    - `num_components`: size of the component axis; `None` if there is none.
    - `definition`: one of the above, or `"pooled"`.
    - `clusters`: what is independent for the error bars: `"items"`, or `"prompts"`, the entries of
        the first batch axis.

    **Raises:** `ValueError` for sizes that are not positive integers or an unknown definition.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> inputs = {
        ...     "source_activations": jnp.array([[-1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]),
        ...     "decoded_activations": jnp.array([[0.0, 0.0], [0.0, 2.0], [0.5, 1.0]]),
        ... }
        >>> for definition in ("pooled", "uncentered"):
        ...     metric = jsm.ExplainedVariance(num_input_features=2, definition=definition)
        ...     print(metric.compute(metric.update(metric.init(), **inputs)))
        0.6875
        0.82142854

    ??? note "Differences from other tools"

        Pooled is what SAELens 6.54 reports as `explained_variance` and scikit-learn's `r2_score`
        with `variance_weighted`; sparsify's FVU is 1 minus it, batch by batch. Other definitions:
        residual variance is dictionary_learning's `frac_variance_explained`, there averaged over
        batches; scalar mean is in overcomplete; the per-dimension mean is scikit-learn's
        `uniform_average`, which gives 1 or 0 for a constant dimension. What SAELens calls legacy is
        `LegacyExplainedVariance`. `metrics/explained_variance` of Llamascopium is the pooled value
        of each batch, averaged over batches. Total variance is `explained_variance` of
        activation-extract, there of one batch. Squared correlation is `var_explained` of saex and
        fae, there of one batch.

        What SAEBench's core evaluation and some older versions of SAELens compute is not offered.
        They subtract a square of means of $x^2$, in units of $x^4$, from a mean of $x^2$. The
        result changes with the scale of the activations and can exceed 1.
    """

    num_input_features: int = eqx.field(static=True)
    num_components: int | None = eqx.field(static=True, default=None)
    definition: _Definition = eqx.field(static=True, default="pooled", metadata={ONLY_READS: True})

    def __check_init__(self) -> None:
        check_choice("definition", self.definition, get_args(_Definition))

    @property
    def _as_defined(self) -> AbstractErrorBars[Any]:
        sizes, clusters = (self.num_input_features, self.num_components), self.clusters
        if self.definition in _WITH_STATES_OF_THEIR_OWN:
            return _WITH_STATES_OF_THEIR_OWN[self.definition](*sizes, clusters=clusters)
        return VarianceOfMoments(*sizes, self.definition, clusters=clusters)

    @property
    def _counting(self) -> dict[str, Any]:
        if self.definition in _WITH_STATES_OF_THEIR_OWN:
            return super()._counting | {"definition": self.definition}
        return super()._counting

    def _init(self) -> Any:
        return self._as_defined._init()

    def _observe(self, batch: Batch) -> Any:
        return self._as_defined._observe(batch)

    def _finish(self, found: Any) -> Any:
        return self._as_defined._finish(found)

    def _compute(self, state: Any) -> Any:
        return self._as_defined._compute(state)

    def _covariance(self, state: Any) -> Any:
        return self._as_defined._covariance(state)
