"""The state of metrics that are a mean over activation vectors."""

import equinox as eqx
from jaxtyping import Array, Float32, Int32

from .._accumulator import Count, Total, ratio
from .._configuration import component_shape
from .._items import Items


class VectorMean(eqx.Module):
    """A total over activation vectors and their number, per component."""

    total: Total | Float32[Array, "*component"]
    num_activation_vectors: Count | Int32[Array, "*component"]

    @classmethod
    def empty(cls, num_components: int | None) -> "VectorMean":
        """Nothing seen yet."""
        components = component_shape(num_components)
        return cls(total=Total.zeros(components), num_activation_vectors=Count.zeros(components))

    @classmethod
    def observe(cls, items: Items, total: Float32[Array, "*component"]) -> "VectorMean":
        """What the items of one batch add."""
        return cls(total=total, num_activation_vectors=items.count())

    def mean(self) -> Float32[Array, "*component"]:
        """The mean of all numbers; NaN if there were none."""
        return ratio(self.total.to_float(), self.num_activation_vectors.to_float())
