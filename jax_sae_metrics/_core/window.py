"""A metric's value over about the last updates."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Int32

from .._accumulator import AbstractAccumulator
from .._arrays import AxisName, map_nodes, on_mesh_of, resharded_as
from .._configuration import check_size
from .collection_state import accumulators_of, closed, opened
from .metric import AbstractMetric
from .wrapper import AbstractWrapper, Wrapped


class Window(AbstractWrapper):
    r"""A metric's value over about the last `num_updates` updates.

    The state is a ring of states of the metric, each of
    $u = \lceil \text{num\_updates} / \text{num\_parts} \rceil$ updates. The oldest is emptied when
    the newest is full. `compute` merges them, so that the value is exactly that of the batches that
    are in the ring: between $u - 1$ updates fewer and $u - 1$ more than asked for. With `num_parts`
    equal to `num_updates`, it is always of so many. A moving average instead weighs batches, and is
    of values of single batches.

    The ring needs up to `num_parts` times the memory of the metric. `all_reduce` takes it that all
    devices made as many updates. `merge` is in time: it keeps the latest parts of both.

    **Inputs** of `observe`, `update` and `forward`: those of the metric. `forward` gives the value
    of the window.

    **Result:** that of the metric, as are `standard_error` and `covariance`.

    **Arguments:**

    - `metric`: a metric, or a collection.
    - `num_updates`: how many updates the window has.
    - `num_parts`: in how many parts it moves on, at most.

    **Raises:** `TypeError` if `metric` is none, `ValueError` for numbers that are not positive
    integers.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.Window(jsm.L0Norm(), num_updates=2)
        >>> state = metric.init()
        >>> for num_active in (3, 2, 1):
        ...     learned_activations = jnp.array([[1.0] * num_active + [0.0] * (3 - num_active)])
        ...     state = metric.update(state, learned_activations=learned_activations)
        >>> print(metric.compute(state))
        1.5
    """

    metric: AbstractMetric[Any] = eqx.field(static=True)
    num_updates: int = eqx.field(static=True)
    num_parts: int = eqx.field(static=True, default=8)
    _is_running: ClassVar = True

    def __check_init__(self) -> None:
        check_size("num_updates", self.num_updates)
        check_size("num_parts", self.num_parts)

    def _init(self) -> Wrapped:
        updates_per_part = -(-self.num_updates // self.num_parts)
        num_parts = -(-self.num_updates // updates_per_part)
        return Wrapped(_Ring.empty(self.metric, num_parts, updates_per_part))

    def _specs(self, state: Any, spec: PartitionSpec) -> Any:
        of_metric = self.metric.partition_specs(spec)
        parts = jax.tree.map(lambda one: PartitionSpec(None, *one), of_metric)
        nowhere = jax.tree.map(lambda leaf: PartitionSpec(), state)
        return eqx.tree_at(lambda tree: tree.accumulators.inner.parts, nowhere, parts)

    def _compute(self, state: Wrapped) -> Any:
        return self.metric._compute(state.inner.merged())

    def _covariance(self, state: Wrapped) -> Any:
        return self.metric._covariance(state.inner.merged())

    def _standard_error(self, state: Wrapped) -> Any:
        return self.metric._standard_error(state.inner.merged())


class _Ring(AbstractAccumulator):
    """States of successive updates, stacked, of which the newest grows."""

    parts: Any
    num_updates: Int32[Array, " part"]
    newest: Int32[Array, ""]
    metric: AbstractMetric[Any] = eqx.field(static=True)
    updates_per_part: int = eqx.field(static=True)

    @classmethod
    def empty(cls, metric: AbstractMetric[Any], num_parts: int, updates_per_part: int) -> "_Ring":
        parts = jax.tree.map(lambda leaf: jnp.stack([leaf] * num_parts), metric.init())
        num_updates, newest = jnp.zeros(num_parts, jnp.int32), jnp.zeros((), jnp.int32)
        return cls(parts, num_updates, newest, metric, updates_per_part)

    def _check(self, added: Any) -> None:
        """The metric checks its observation."""

    def _add(self, added: Any, axis_name: AxisName | None) -> "_Ring":
        num_updates = self.num_updates[self.newest]
        is_full = num_updates >= self.updates_per_part
        place = (self.newest + is_full.astype(jnp.int32)) % len(self.num_updates)

        def current(parts: Array, empty: Array) -> Array:
            part = lax.dynamic_index_in_dim(parts, place, keepdims=False)
            return jnp.where(is_full, resharded_as(part, empty), part)

        part = jax.tree.map(current, self.parts, self.metric.init())
        part = self.metric.accumulate(part, added, axis_name=axis_name)

        def put(parts: Array, one: Array) -> Array:
            return lax.dynamic_update_index_in_dim(on_mesh_of(one, parts), one, place, 0)

        parts = jax.tree.map(put, self.parts, part)
        num_updates = self.num_updates.at[place].set(jnp.where(is_full, 0, num_updates) + 1)
        return self._with(parts, num_updates, place)

    def _merge(self, later: "_Ring") -> "_Ring":
        """The latest parts of both."""
        mine, theirs = self._in_order(), later._in_order()
        parts, num_updates = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), mine, theirs)
        # Those that are empty first, all others in order.
        latest = jnp.argsort(num_updates > 0, stable=True)[len(self.num_updates) :]
        parts, num_updates = jax.tree.map(lambda leaf: leaf[latest], (parts, num_updates))
        # The newest stays where it is, so that nothing changes where one of both is empty.
        newest = jnp.where(jnp.any(later.num_updates > 0), later.newest, self.newest)
        return self._from_order(parts, num_updates, newest)

    def all_reduce(self, axis_name: AxisName) -> "_Ring":
        """The parts of all devices, which made as many updates."""
        parts, num_updates = self._in_order()

        def reduce(part: Any) -> Any:
            reduce_one = lambda one: one.all_reduce(axis_name)  # noqa: E731
            return closed(map_nodes(AbstractAccumulator, reduce_one, opened(part)))

        num_updates = lax.pmax(num_updates, axis_name)
        newest = lax.pmax(self.newest, axis_name)
        return self._from_order(jax.vmap(reduce)(parts), num_updates, newest)

    def merged(self) -> Any:
        """The accumulators of all parts together."""
        parts, _ = self._in_order()

        def merge(earlier: Any, later: Any) -> tuple[Any, None]:
            return self.metric.merge(earlier, later), None

        oldest, others = (jax.tree.map(cut, parts) for cut in (lambda x: x[0], lambda x: x[1:]))
        return accumulators_of(lax.scan(merge, oldest, others)[0])

    def to_numpy(self) -> np.ndarray:
        """The number of updates in each part, oldest first, on the host."""
        return np.roll(np.asarray(self.num_updates), -1 - int(self.newest))

    def _in_order(self) -> Any:
        """Parts and numbers of updates, oldest first."""
        num_parts = len(self.num_updates)
        order = (self.newest + 1 + jnp.arange(num_parts, dtype=jnp.int32)) % num_parts
        return jax.tree.map(lambda leaf: leaf[order], (self.parts, self.num_updates))

    def _from_order(self, parts: Any, num_updates: Array, newest: Array) -> "_Ring":
        """The ring of parts that are in order, with the newest at this place."""
        parts, num_updates = jax.tree.map(
            lambda leaf: jnp.roll(leaf, newest + 1, axis=0), (parts, num_updates)
        )
        return self._with(parts, num_updates, newest)

    def _with(self, parts: Any, num_updates: Array, newest: Array) -> "_Ring":
        return _Ring(parts, num_updates, newest, self.metric, self.updates_per_part)
