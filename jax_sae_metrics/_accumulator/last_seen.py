"""How long ago something last happened."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Int32, UInt32

from .._arrays import AxisName, on_host
from .accumulator import AbstractAccumulator
from .added import AbstractRecord, check_array, check_record
from .at_indices import scatter_max
from .gather import gather
from .scattered import Scattered, dense

MAX_AGE = 2**30
# Once the clock reaches 2^31, it is set back to MAX_AGE.
_TURN_BACK_AT = np.uint32(2**31)


class LastSeenRecord(AbstractRecord):
    """What one batch adds to `LastSeen`: where something last happened in it, and its length.

    `position` is the number of an unmasked item (the first is 1); 0 where it did not happen.
    """

    position: Int32[Array, "*component feature"] | Scattered
    num_items: Int32[Array, "*component"]

    def combine(self, later: "LastSeenRecord") -> "LastSeenRecord":
        """The items of `later` come after the items of this batch."""
        position = _moved(dense(later.position), self.num_items[..., None])
        return LastSeenRecord(
            position=jnp.maximum(dense(self.position), position),
            num_items=self.num_items + later.num_items,
        )


class LastSeen(AbstractAccumulator):
    r"""The item at which something last happened, per feature, and the number of all items.

    In time, the later item wins. Over devices that went through their items side by side (as in
    `all_reduce`), the item wins that has the fewest items of all devices after it.

    Ages are exact up to $2^{30}$ items, where they stop growing. Where something never happened,
    the age is the number of all items.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> record = jsm.LastSeenRecord(
        ...     position=jnp.array([1, 0, 4], jnp.int32), num_items=jnp.asarray(4, jnp.int32)
        ... )
        >>> print(jsm.LastSeen.zeros((3,)).add(record).age())
        [3 4 0]
    """

    position: UInt32[Array, "*component feature"]
    clock: UInt32[Array, "*component"]

    @classmethod
    def zeros(cls, shape: tuple[int, ...]) -> "LastSeen":
        """No items seen, for the given shape `[component?, feature]`."""
        return cls(position=jnp.zeros(shape, jnp.uint32), clock=jnp.zeros(shape[:-1], jnp.uint32))

    def _check(self, added: Any) -> None:
        check_record(added, "LastSeen", LastSeenRecord)
        check_array(added.position, "LastSeen", self.position.shape, jnp.int32)
        check_array(added.num_items, "LastSeen", self.clock.shape, jnp.int32)

    def _add(self, added: Any, axis_name: AxisName | None) -> "LastSeen":
        """Add one batch; with `axis_name`, one of each device, in the order of the devices."""
        before, num_items = self._items_of(added, axis_name)
        position = _moved(added.position, before[..., None])
        if axis_name is not None:
            position = lax.pmax(position, axis_name)
        return self._merge(LastSeen(position.astype(jnp.uint32), num_items))

    def _add_few(self, added: Any, axis_name: AxisName | None) -> "LastSeen":
        before, num_items = self._items_of(added, axis_name)
        few = added.position
        positions = _moved(few.values, few.of_components(before))
        few = Scattered(few.at, positions, few.shape, few.is_maximum).gathered(axis_name)
        # This batch is later than all that was seen, so that the larger position is right.
        values = _moved(few.values.astype(jnp.uint32), few.of_components(self.clock))
        latest = scatter_max(self.position, few.at, values)
        clock, excess = self._clock_after(num_items)
        # This is rare, and only then are all features touched.
        position = lax.cond(
            jnp.any(excess > 0), _turned_back, lambda position, excess: position, latest, excess
        )
        return LastSeen(position=position, clock=clock)

    def _items_of(
        self, added: LastSeenRecord, axis_name: AxisName | None
    ) -> tuple[Int32[Array, "*component"], UInt32[Array, "*component"]]:
        """The number of items on the devices before this one, and on all devices."""
        here = added.num_items
        if axis_name is None:
            return jnp.zeros_like(here), here.astype(jnp.uint32)
        everywhere = gather(here, axis_name)
        is_earlier = jnp.arange(len(everywhere), dtype=jnp.int32) < lax.axis_index(axis_name)
        is_earlier = is_earlier.reshape(-1, *(1,) * here.ndim)
        before = jnp.sum(jnp.where(is_earlier, everywhere, 0), axis=0, dtype=jnp.int32)
        return before, jnp.sum(everywhere, axis=0, dtype=jnp.int32).astype(jnp.uint32)

    def _merge(self, later: "LastSeen") -> "LastSeen":
        latest = jnp.maximum(self.position, _moved(later.position, self.clock[..., None]))
        clock, excess = self._clock_after(later.clock)
        return LastSeen(position=_turned_back(latest, excess), clock=clock)

    def all_reduce(self, axis_name: AxisName) -> "LastSeen":
        """Count the items of all devices, which went through them at the same pace."""
        clocks = jnp.minimum(gather(self.clock, axis_name), MAX_AGE)
        clock = _saturating_sum(clocks)
        # Devices run in step: since then, each saw as many items as this one, or all of its own.
        ages = self.age().astype(jnp.uint32)[None]
        age = _saturating_sum(jnp.minimum(clocks[..., None], ages))
        age = jnp.where(self.position > 0, age, clock[..., None])
        return LastSeen(position=clock[..., None] - lax.pmin(age, axis_name), clock=clock)

    def age(self) -> Int32[Array, "*component feature"]:
        """How many items came after the last one at which it happened, up to 2^30."""
        return jnp.minimum(self.clock[..., None] - self.position, MAX_AGE).astype(jnp.int32)

    def happened(self, where: Bool[Array, "*component feature"]) -> "LastSeen":
        """As if it had happened at the last item, where `where` is True."""
        position = jnp.where(where, self.clock[..., None], self.position)
        return LastSeen(position=position, clock=self.clock)

    def to_numpy(self) -> np.ndarray:
        """The age, on the host."""
        return on_host(self.age())

    def _clock_after(
        self, num_items: UInt32[Array, "*component"]
    ) -> tuple[UInt32[Array, "*component"], UInt32[Array, "*component"]]:
        """The clock after `num_items` more items, and by how much it is then set back."""
        clock = self.clock + num_items
        excess = jnp.where(clock >= _TURN_BACK_AT, clock - np.uint32(MAX_AGE), np.uint32(0))
        return clock - excess, excess


def _turned_back(
    position: UInt32[Array, "*component feature"], excess: UInt32[Array, "*component"]
) -> UInt32[Array, "*component feature"]:
    """Positions, set back with the clock."""
    return position - jnp.minimum(position, excess[..., None])


def _moved(position: Any, by: Array) -> Any:
    """Positions that are `by` items later; 0 (it did not happen) stays 0."""
    return jnp.where(position > 0, position + by, jnp.zeros((), position.dtype))


def _saturating_sum(values: UInt32[Array, "device ..."]) -> UInt32[Array, "..."]:
    """The sum over devices of numbers up to 2^30, at most 2^30."""
    limit = np.uint32(MAX_AGE)
    return lax.reduce(values, np.uint32(0), lambda a, b: jnp.minimum(a + b, limit), (0,))
