"""What a batch adds to an accumulator: checks, and records of what must not be summed."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Key, PyTree

from .._arrays import map_nodes


def _mark() -> Key[Array, ""]:
    return jax.random.wrap_key_data(jnp.zeros(2, jnp.uint32), impl="threefry2x32")


class AbstractRecord(eqx.Module):
    """A batch's addition that must not be summed.

    `combine` makes one record of two. The sum of their leaves would be a wrong number. One leaf is
    therefore a random key, which JAX refuses to add, to scale and to `psum`.
    """

    not_a_sum: Key[Array, ""] = eqx.field(default_factory=_mark, kw_only=True)

    @abc.abstractmethod
    def combine(self, later: Any) -> "AbstractRecord":
        """The record of both batches together."""


def intact(added: PyTree) -> PyTree:
    """What is added, with each record such that it depends on its key.

    A compiler drops a key that nothing depends on, and with it the refusal of a `psum`.
    """
    return map_nodes(AbstractRecord, _depending_on_its_key, added)


def _depending_on_its_key(added: AbstractRecord) -> AbstractRecord:
    leaves, treedef = jax.tree.flatten(added)
    is_key = [jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves]
    smallest = min(range(len(leaves)), key=lambda i: (is_key[i], leaves[i].size))
    key_data = jax.random.key_data(added.not_a_sum)
    leaves[smallest], _ = lax.optimization_barrier((leaves[smallest], key_data))
    return jax.tree.unflatten(treedef, leaves)


def combined(earlier: PyTree, later: PyTree) -> PyTree:
    """What two batches add, as if they were one."""

    def combine(one: Any, other: Any) -> Any:
        return one.combine(other) if isinstance(one, AbstractRecord) else one + other

    is_record = lambda node: isinstance(node, AbstractRecord)  # noqa: E731
    return jax.tree.map(combine, earlier, later, is_leaf=is_record)


def check_array(added: Any, accumulator: str, shape: tuple[int, ...], dtype: Any) -> None:
    """Raise unless what is added, dense or to few features, has exactly this shape and dtype."""
    wanted = f"{jnp.dtype(dtype)}{list(shape)}"
    given = type(added).__name__
    if hasattr(added, "shape") and hasattr(added, "dtype"):
        given = f"{added.dtype}{list(added.shape)}"
    if given != wanted:
        raise ValueError(
            f"observation: a {accumulator} of shape {shape} expects an array {wanted}, got {given}."
            " Pass what `observe` of the same metric returned, or what `combine` made of several. "
            "In a metric's own `_observe`, counts (sums of comparisons) go to a Count, "
            "other sums to a Total."
        )


def check_record(added: Any, accumulator: str, record: type[AbstractRecord]) -> None:
    """Raise unless what is added is a record of this type."""
    if not isinstance(added, record):
        raise ValueError(
            f"observation: {accumulator} expects a {record.__name__}, got {type(added).__name__}. "
            "Pass what `observe` of the same metric returned."
        )
