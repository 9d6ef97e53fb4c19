"""How large the activations of each learned feature are."""

import dataclasses
import itertools
import math
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Float32

from ..._accumulator import Count, Maximum, Total
from ..._arrays import ratio
from ..._configuration import as_tuple, check_between, check_in_order
from ..._inputs import Batch
from ..base import Above, AbstractFiring, square, standard_error_of_mean


class _ActivationStatisticsState(eqx.Module):
    num_active: Count
    total: Total
    total_of_squares: Total
    total_of_all_squares: Total
    largest: Maximum
    # Of the negated activations.
    smallest: Maximum
    histogram: tuple[Count, ...]
    num_activation_vectors: Count


class ActivationStatistics(AbstractFiring[_ActivationStatisticsState]):
    r"""How large each learned feature's activations are: mean, second moment, maximum, histogram.

    $$\frac{\sum_n f_{ni} \mathbb{1}[f_{ni} > t]}{\sum_n \mathbb{1}[f_{ni} > t]} \qquad
    \frac{1}{N} \sum_{n=1}^{N} f_{ni}^2 \qquad \max_{n:\, f_{ni} > t} f_{ni}$$

    over all $N$ unmasked vectors of all batches, $f$ the learned activations and $t$ the threshold
    above which a feature is active; and the smallest activation above the threshold.

    **Input** of `observe`, `update` and `forward`: `learned_activations`, floating point,
    `[*batch, component?, learned_feature]`, `TopKActivations` or `SparseActivations`.

    **Result:** a dictionary of

    - `"mean_when_active"`, `"max"`, `"min_when_active"`: float32 `[component?, learned_feature]`,
        in units of the activations; NaN where the feature was never active.
    - `"second_moment"`: float32 `[component?, learned_feature]`, over all vectors, active or not;
        NaN where nothing was seen. Divided by the density, it is the second moment of the active
        ones, if all others are 0.
    - `"histogram"`: integer `[component?, learned_feature, bin]`, the number of active activations
        below the first edge, from each edge up to the next, and from the last edge on. There is one
        bin more than there are edges; `bin_edges` adds the outer ones. A feature that was never
        active has 0 in every bin. int64 under x64, else int32, saturating at its largest value.

    `standard_error` is for `"mean_when_active"`, over the vectors in which the feature is active.

    **Arguments:**

    - `num_learned_features`: size of the last axis.
    - `num_components`: size of the component axis; `None` if there is none.
    - `threshold`: a feature is active where its activation is greater than this.
    - `histogram_edges`: positive and increasing, evenly spaced on a logarithmic scale by default.
    - `absolute`: whether the absolute value of an activation is compared with the threshold. All
        results are then of absolute values.

    **Raises:** `ValueError` for sizes that are not positive integers, a negative threshold, or
    edges that are not positive and increasing.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.ActivationStatistics(num_learned_features=2, histogram_edges=(1.0, 3.0))
        >>> learned_activations = jnp.array([[1.0, 0.0], [3.0, 0.0], [0.0, 0.0], [0.0, 0.5]])
        >>> state = metric.update(metric.init(), learned_activations=learned_activations)
        >>> for name, value in metric.compute(state).items():
        ...     print(name, value.tolist())
        mean_when_active [2.0, 0.5]
        second_moment [2.5, 0.0625]
        max [3.0, 0.5]
        min_when_active [1.0, 0.5]
        histogram [[0, 1, 1], [1, 0, 0]]

    ??? note "Differences from other tools"

        The second moment is `mean_act_squared` of OpenAI's feature viewer, a mean over all tokens.
        Its `mean_act` is a mean over all tokens too: `mean_when_active` times the density.

    ??? cite "Reference"

        OpenAI, [sparse_autoencoder](https://github.com/openai/sparse_autoencoder), `sae-viewer`.
    """

    num_learned_features: int = eqx.field(static=True)
    num_components: int | None = eqx.field(static=True, default=None)
    threshold: float = eqx.field(static=True, default=0.0)
    histogram_edges: tuple[float, ...] = eqx.field(
        static=True, converter=as_tuple, default=(1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1000.0)
    )
    absolute: bool = eqx.field(static=True, default=False)
    _axes: ClassVar = {
        "mean_when_active": ("learned_feature",),
        "second_moment": ("learned_feature",),
        "max": ("learned_feature",),
        "min_when_active": ("learned_feature",),
        "histogram": ("learned_feature", "bin"),
    }

    @property
    def bin_edges(self) -> np.ndarray:
        """The threshold, the edges and infinity: one number more than there are bins.

        An edge below the threshold is moved to it, since nothing active is between them. Each bin
        holds its lower edge and not its upper one; the last holds infinity too. The threshold is in
        no bin.
        """
        edges = np.array([self.threshold, *self.histogram_edges, np.inf], np.float32)
        return np.maximum(edges, edges[0])

    def __check_init__(self) -> None:
        check_in_order("histogram_edges", self.histogram_edges, at_least=0)
        for edge in self.histogram_edges:
            check_between("histogram_edges", edge, 0.0)
        if any(upper <= lower for lower, upper in itertools.pairwise((0, *self.histogram_edges))):
            raise ValueError(
                "histogram_edges: expected positive numbers, each greater than the one before, got "
                f"{self.histogram_edges}."
            )

    def _init(self) -> _ActivationStatisticsState:
        shape = self._shape("learned_feature")
        return _ActivationStatisticsState(
            num_active=Count.zeros(shape),
            total=Total.zeros(shape),
            total_of_squares=Total.zeros(shape),
            total_of_all_squares=Total.zeros(shape),
            largest=Maximum.empty(shape),
            smallest=Maximum.empty(shape),
            histogram=tuple(Count.zeros(shape) for _ in self._bins()),
            num_activation_vectors=Count.zeros(self._shape()),
        )

    def _observe(self, batch: Batch) -> dict[str, Any]:
        learned, active = batch.learned_activations, _WhenActive(self.threshold, self.absolute)
        return {
            "num_active": learned.sum_per_feature(self._fires),
            "total": learned.sum_per_feature(active),
            "total_of_squares": learned.sum_per_feature(_Square(active)),
            "total_of_all_squares": learned.sum_per_feature(square),
            "largest": learned.max_per_feature(dataclasses.replace(active, otherwise=-math.inf)),
            "smallest": learned.max_per_feature(
                _Negated(dataclasses.replace(active, otherwise=math.inf))
            ),
            "histogram": tuple(learned.sum_per_feature(one) for one in self._bins()),
            "num_activation_vectors": learned.items.count(),
        }

    def _compute(self, state: _ActivationStatisticsState) -> dict[str, Array]:
        num_vectors = state.num_activation_vectors.to_float()[..., None]
        return {
            "mean_when_active": ratio(state.total.to_float(), state.num_active.to_float()),
            "second_moment": ratio(state.total_of_all_squares.to_float(), num_vectors),
            "max": state.largest.to_float(),
            "min_when_active": -state.smallest.to_float(),
            "histogram": jnp.stack([count.to_int() for count in state.histogram], axis=-1),
        }

    def _standard_error(
        self, state: _ActivationStatisticsState
    ) -> dict[str, Float32[Array, "*component learned_feature"]]:
        error = standard_error_of_mean(
            state.total.to_float(), state.total_of_squares.to_float(), state.num_active.to_float()
        )
        return {"mean_when_active": error}

    def _bins(self) -> list["_InBin"]:
        edges = self.histogram_edges
        bins = zip((0.0, *edges), (*edges, None), strict=True)
        active = _WhenActive(self.threshold, self.absolute, otherwise=-math.inf)
        return [_InBin(active, lower, upper) for lower, upper in bins]


@dataclasses.dataclass(frozen=True)
class _WhenActive:
    """The activation, or its absolute value, if that is above a threshold; else another number."""

    threshold: float
    absolute: bool
    otherwise: float = 0.0

    def __call__(self, activation: Float[Array, ""]) -> Float[Array, ""]:
        size = lax.abs(activation) if self.absolute else activation
        otherwise = jnp.asarray(self.otherwise, activation.dtype)
        return jnp.where(Above(self.threshold)(size), size, otherwise)


@dataclasses.dataclass(frozen=True)
class _Square:
    active: _WhenActive

    def __call__(self, activation: Float[Array, ""]) -> Float[Array, ""]:
        return lax.square(self.active(activation))


@dataclasses.dataclass(frozen=True)
class _Negated:
    active: _WhenActive

    def __call__(self, activation: Float[Array, ""]) -> Float[Array, ""]:
        return lax.neg(self.active(activation))


@dataclasses.dataclass(frozen=True)
class _InBin:
    """Whether an active activation is in a bin. The last bin has no upper edge."""

    active: _WhenActive
    lower: float
    upper: float | None

    def __call__(self, activation: Float[Array, ""]) -> Bool[Array, ""]:
        size = self.active(activation)
        is_in = size >= self.lower
        return is_in if self.upper is None else is_in & (size < self.upper)
