"""The items of a batch, some of them masked out: what a mean is taken over."""

import math

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int32, Shaped

from .._arrays import Size
from .._reductions import num_unmasked, plain_sum


class Items(eqx.Module):
    """Activation vectors or losses, one for each place of `shape` and each component.

    What is masked out adds nothing to a count or a sum, not even where it is NaN.
    """

    shape: tuple[Size, ...] = eqx.field(static=True)
    component_shape: tuple[int, ...] = eqx.field(static=True)
    mask: Bool[Array, "*item_and_component"] | None

    @property
    def full_shape(self) -> tuple[int, ...]:
        """The axes of the items, and the component axis if there is one."""
        return *self.shape, *self.component_shape

    def count(self) -> Int32[Array, "*component"]:
        """The number of unmasked items, per component."""
        return num_unmasked(self.shape, self.component_shape, self.mask)

    def sum(self, per_item: Shaped[Array, "..."]) -> Array:
        """The sum over unmasked items of one number each, `[component?]`.

        It is the int32 count of True for booleans, and float32 for all numbers: integers of many
        items would wrap.
        """
        if per_item.dtype != bool:
            per_item = per_item.astype(jnp.float32)
        return plain_sum(self.selected(per_item), self.axes, math.prod(self.shape))

    def selected(self, per_item: Shaped[Array, "..."]) -> Shaped[Array, "*item_and_component"]:
        """One number each, for every component, with 0 in place of what is masked out."""
        self.check(per_item)
        if self.mask is not None:
            # Select, never multiply: NaN * 0 is NaN.
            return jnp.where(self.mask, per_item, jnp.zeros((), per_item.dtype))
        if per_item.shape == self.full_shape:
            return per_item
        return jnp.broadcast_to(per_item, self.full_shape)

    def only(self, kept: Bool[Array, "*#item_and_component"]) -> "Items":
        """The items where `kept` is True."""
        kept = jnp.broadcast_to(kept, self.full_shape)
        mask = kept if self.mask is None else self.mask & kept
        return Items(self.shape, self.component_shape, mask)

    def component_numbers(self) -> tuple[Int32[Array, " item_and_component"], ...]:
        """The component of each item and component, in order; nothing without components."""
        if not self.component_shape:
            return ()
        shape = (math.prod(self.shape), *self.component_shape)
        return (lax.broadcasted_iota(jnp.int32, shape, 1).reshape(-1),)

    def prompts(self) -> "Items":
        """The entries of the first axis, if any of their items is unmasked."""
        mask = self.mask
        if mask is not None:
            mask = lax.reduce_or(mask, tuple(range(1, len(self.shape))))
        return Items(self.shape[:1], self.component_shape, mask)

    def check(self, per_item: Shaped[Array, "..."]) -> None:
        """Raise unless there is one number for each item, or one for all components of each."""
        shape = self.full_shape
        allowed = (shape, (*self.shape, *(1 for _ in self.component_shape)))
        if per_item.shape not in allowed:
            raise ValueError(
                f"items: expected one number for each item, of shape {shape}, got "
                f"{per_item.shape}. `sum_per_vector` asks for one number of each vector."
            )

    def everywhere(self) -> Bool[Array, "*item_and_component"]:
        """Where items are unmasked."""
        return jnp.ones(self.full_shape, bool) if self.mask is None else self.mask

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes of the items."""
        return tuple(range(len(self.shape)))
