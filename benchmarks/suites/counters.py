"""Exact counts and totals against plain adds; the size of states; the cost of a call."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

import jax_sae_metrics as jsm

from ..jitted import jitted
from ..measure import Comparison, Contender, Figure
from ..optional import import_or_skip
from ..ours import L1_COEFFICIENT, training_collection
from ..report import Facts

if TYPE_CHECKING:
    from . import Builder

ADDS = Figure(
    "counters",
    "Exact counters and totals, against plain adds",
    "time, in plain adds",
)
DISPATCH = Figure(
    "dispatch",
    "A call of a tiny update, against a tiny function of four arrays",
    "time, in calls of that function",
)
INT32, FLOAT32 = "int32 add", "float32 add"
_ADDS_IN_ONE_CALL = 64
_DISPATCH_CALLS = 1000


def suite(is_quick: bool) -> "Iterator[Builder]":
    """Adds of four sizes, one by one and many in a call; sizes of states; dispatch."""
    sizes = (2**6, 2**8) if is_quick else (2**14, 2**17, 2**20, 2**24)
    for size in sizes:
        yield partial(_adds, size, 1)
    for size in sizes[:-1]:
        yield partial(_adds, size, _ADDS_IN_ONE_CALL)
    yield partial(_state_sizes, 256 if is_quick else 16384)
    yield _dispatch


def _adds(size: int, num_adds: int) -> Comparison:
    """One add in each call, and many in one program, where the cost of a call does not matter."""
    integers = {"observation": jnp.arange(size, dtype=jnp.int32)}
    unsigned = {"observation": jnp.arange(size, dtype=jnp.uint32)}
    floats = {"observation": jnp.linspace(0, 1, size, dtype=jnp.float32)}
    add = partial(_repeat, num_adds, jnp.add)
    exactly = partial(_repeat, num_adds, lambda state, observation: state.add(observation))
    zeros, shape = jnp.zeros, (size,)
    make: Callable[..., Contender] = partial(jitted, items=size * num_adds)
    how = "one add in a call" if num_adds == 1 else f"{num_adds} adds in a call"
    return Comparison(
        suite="counters",
        title=f"{size:,} numbers, {how}",
        shape=str(size),
        dtype="int32, uint32, float32",
        contenders=[
            make(INT32, add, zeros(shape, jnp.int32), integers),
            make("uint32 add", add, zeros(shape, jnp.uint32), unsigned, against=INT32),
            make("Count.add", exactly, jsm.Count.zeros(shape), integers, against=INT32),
            make(FLOAT32, add, zeros(shape, jnp.float32), floats),
            make("Total.add", exactly, jsm.Total.zeros(shape), floats, against=FLOAT32),
        ],
        figure=ADDS,
        panel=how,
        series=f"{size:,}",
        notes=("each: time for one number",),
        seconds=4.0,
    )


def _repeat(
    num_adds: int,
    add: Callable[[PyTree, Array], PyTree],
    state: PyTree,
    *,
    observation: Array,
) -> PyTree:
    if num_adds == 1:
        return add(state, observation)
    return lax.fori_loop(0, num_adds, lambda _, carried: add(carried, observation), state)


def _state_sizes(num_learned_features: int) -> Facts:
    """Exact counts are twice as wide as the torch version's floats."""
    collection = training_collection(num_learned_features)
    sizes = {
        name: sum(leaf.nbytes for leaf in jax.tree.leaves(metric.init()))
        for name, metric in collection.metrics.items()
    }
    in_torch = _state_sizes_in_torch(num_learned_features)
    rows = [
        {"metric": name, "bytes": size, "bytes in torch": in_torch.get(name, "")}
        for name, size in sizes.items()
    ]
    title = f"size of states, {num_learned_features:,} features"
    return Facts(suite="counters", title=title, rows=rows)


def _state_sizes_in_torch(num_learned_features: int) -> dict[str, int]:
    what = "size of states in torch"
    if import_or_skip("torch", what) is None or import_or_skip("torchmetrics", what) is None:
        return {}
    from ..peers import with_torch

    collection = with_torch.training_collection(num_learned_features, None, L1_COEFFICIENT)
    return {
        name: with_torch.state_bytes(metric)
        for name, metric in collection.items(keep_base=True, copy_state=False)
    }


def _dispatch() -> Comparison:
    """Many calls of almost no work, without waiting in between."""
    density = jsm.FeatureDensity(8)
    learned = {"learned_activations": jnp.ones((1, 8))}

    def leaves() -> tuple[Array, ...]:
        return tuple(jax.tree.leaves(density.init()))

    floor, same_state = "tuple of four arrays, plain adds", "state of the metric, plain adds"
    called = partial(_called, batch=learned, against=floor)
    return Comparison(
        suite="counters",
        title="dispatch of a tiny jitted and donated call, 4 leaves and an array",
        shape="1 x 8",
        dtype="float32",
        contenders=[
            _called(floor, _add_to_leaves, leaves(), learned, against=None),
            called(same_state, _add_to_leaves, density.init()),
            called("FeatureDensity.update", density.update, density.init()),
        ],
        figure=DISPATCH,
        panel="8 features, batch 1",
        seconds=4.0,
    )


def _add_to_leaves(state: PyTree[Array], *, learned_activations: Array) -> PyTree[Array]:
    one = learned_activations[0, 0].astype(jnp.uint32)
    return jax.tree.map(lambda leaf: leaf + one, state)


def _called(
    name: str,
    function: Callable[..., PyTree],
    state: PyTree,
    batch: dict[str, Any],
    against: str | None,
) -> Contender:
    """Call it as users do: through `jax.jit` and with keywords."""
    call = jax.jit(function, donate_argnums=0)

    def run() -> None:
        nonlocal state
        state = call(state, **batch)

    return Contender(
        name,
        run=run,
        wait=lambda: jax.block_until_ready(state),
        against=against,
        calls=_DISPATCH_CALLS,
    )
