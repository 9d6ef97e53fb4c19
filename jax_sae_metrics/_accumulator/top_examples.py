"""The largest numbers seen, and which examples they are of."""

from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float32, Int32

from .._arrays import AxisName, on_mesh_of, resharded_as, sharded_as
from .accumulator import AbstractAccumulator
from .added import AbstractRecord, check_array, check_record
from .gather import gather, side_by_side

NO_EXAMPLE = -1


class TopExamplesRecord(AbstractRecord):
    """What one batch adds to `TopExamples`: its largest numbers, in order, and their examples.

    A batch with fewer has minus infinity and -1 in their place.
    """

    values: Float32[Array, "*component feature example"]
    ids: Int32[Array, "*component feature example"]

    def combine(self, later: "TopExamplesRecord") -> "TopExamplesRecord":
        """The largest of both batches."""
        num_examples = self.values.shape[-1]
        both = largest([self.values, later.values], [self.ids, later.ids], num_examples)
        return TopExamplesRecord(*both)


class TopExamples(AbstractAccumulator):
    """The largest numbers of each feature, largest first, and the examples that they are of.

    Of equal numbers, the smaller id comes first. Where there are fewer, there is minus infinity,
    and -1 for the example.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> record = jsm.TopExamplesRecord(
        ...     values=jnp.array([[3.0, 1.0]]), ids=jnp.array([[7, 4]], jnp.int32)
        ... )
        >>> top = jsm.TopExamples.empty((1,), num_examples=3).add(record)
        >>> print(top.values, top.ids)
        [[  3.   1. -inf]] [[ 7  4 -1]]
    """

    values: Float32[Array, "*component feature example"]
    ids: Int32[Array, "*component feature example"]

    @classmethod
    def empty(cls, shape: tuple[int, ...], num_examples: int) -> "TopExamples":
        """No number seen, for the given shape `[component?, feature]`."""
        return cls(
            values=jnp.full((*shape, num_examples), -jnp.inf, jnp.float32),
            ids=jnp.full((*shape, num_examples), NO_EXAMPLE, jnp.int32),
        )

    def _check(self, added: Any) -> None:
        check_record(added, "TopExamples", TopExamplesRecord)
        shape = (*self.values.shape[:-1], added.values.shape[-1])
        check_array(added.values, "TopExamples", shape, jnp.float32)
        check_array(added.ids, "TopExamples", shape, jnp.int32)

    def _add(self, added: Any, axis_name: AxisName | None) -> "TopExamples":
        values, ids = added.values, added.ids
        if axis_name is not None:
            values, ids = map(side_by_side, gather((values, ids), axis_name))
        return self._with(values, ids)

    def _merge(self, later: "TopExamples") -> "TopExamples":
        return self._with(later.values, later.ids)

    def all_reduce(self, axis_name: AxisName) -> "TopExamples":
        """The largest of all devices."""
        values, ids = map(side_by_side, gather((self.values, self.ids), axis_name))
        return TopExamples(*largest([values], [ids], self.values.shape[-1]))

    def _with(self, values: Array, ids: Array) -> "TopExamples":
        my_values, my_ids = on_mesh_of(values, self.values), on_mesh_of(ids, self.ids)
        values, ids = resharded_as(my_values, values), resharded_as(my_ids, ids)
        num_examples = self.values.shape[-1]
        return TopExamples(*largest([my_values, values], [my_ids, ids], num_examples))


def largest(values: list[Array], ids: list[Array], num_examples: int) -> tuple[Array, Array]:
    """The largest values along the last axis, in order, and their ids; filled up where too few."""
    shape = (*values[0].shape[:-1], num_examples)
    no_value, no_id = (
        jnp.broadcast_to(nothing, shape, **sharded_as(values[0]))
        for nothing in (jnp.float32(-jnp.inf), jnp.int32(NO_EXAMPLE))
    )
    together = jnp.concatenate([*values, no_value], axis=-1)
    negated, in_order = lax.sort((-together, jnp.concatenate([*ids, no_id], axis=-1)), num_keys=2)
    return -negated[..., :num_examples], in_order[..., :num_examples]
