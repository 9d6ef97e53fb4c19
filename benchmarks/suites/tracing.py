"""What a first call takes before it runs, and what flattening a state takes in every call."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

import jax_sae_metrics as jsm

from ..inputs import in_words, top_k_batch, training_batch
from ..measure import Comparison, Contender, Figure
from ..peers import careful

if TYPE_CHECKING:
    from . import Builder

FIGURE = Figure(
    "tracing",
    "A first call, and flattening a state, against code by hand",
    "time, in times of code by hand",
)
BY_HAND = "by hand"


@dataclasses.dataclass(frozen=True)
class Update:
    """A function `(state, **batch)` and what it is called with."""

    function: Callable[..., Any]
    state: PyTree
    batch: dict[str, Any]

    def lower(self) -> jax.stages.Lowered:
        """Trace and lower as in a new process, but for what this library keeps by itself."""
        new = lambda state, **batch: self.function(state, **batch)  # noqa: E731
        return jax.jit(new, donate_argnums=0).lower(self.state, **self.batch)


def suite(is_quick: bool) -> "Iterator[Builder]":
    """A ready-made collection, small and large, and a small collection of TopK activations."""
    for size in ((64, 256, 32),) if is_quick else ((1, 4096, 512), (4096, 16384, 512)):
        yield partial(_training, *size)
    yield partial(_top_k, *(16, 4, 256) if is_quick else (4096, 32, 2**14))
    yield partial(_flatten, *(256, 32) if is_quick else (16384, 512))


def _training(num_vectors: int, num_learned: int, num_input: int) -> Comparison:
    batch = training_batch((num_vectors, num_learned), "float32", num_input)
    metrics = jsm.training_metrics(num_learned, num_input)
    zeros = careful.zeros(careful.training, num_learned, num_input)
    return _compare(
        f"training_metrics, {in_words((num_vectors, num_learned))}",
        Update(careful.training, zeros, batch),
        Update(metrics.update, metrics.init(), batch),
    )


def _top_k(num_vectors: int, k: int, num_learned: int) -> Comparison:
    batch = {"learned_activations": top_k_batch(num_vectors, k, num_learned, seed=0)}
    metrics = jsm.MetricCollection(
        {"density": jsm.FeatureDensity(num_learned), "l0": jsm.L0Norm(), "l1": jsm.L1AbsoluteLoss()}
    )
    zeros = {"fired": jnp.zeros(num_learned, jnp.int32), "l0": jnp.zeros(2), "l1": jnp.zeros(2)}
    return _compare(
        "density, L0 and L1 of TopK activations",
        Update(_of_top_k, zeros, batch),
        Update(metrics.update, metrics.init(), batch),
    )


def _of_top_k(state: careful.State, *, learned_activations: jsm.TopKActivations) -> careful.State:
    values, indices = learned_activations.values, learned_activations.indices
    fired = state["fired"].at[indices.reshape(-1)].add((values > 0).reshape(-1).astype(jnp.int32))
    of_each = {"l0": jnp.sum(values != 0, -1, dtype=jnp.float32), "l1": jnp.abs(values).sum(-1)}
    squares = {name: jnp.stack([x.sum(), jnp.square(x).sum()]) for name, x in of_each.items()}
    return {"fired": fired} | {name: state[name] + added for name, added in squares.items()}


def _compare(name: str, by_hand: Update, ours: Update) -> Comparison:
    return Comparison(
        suite="tracing",
        title=name,
        shape=name,
        dtype="float32",
        contenders=[
            _tracing(f"trace and lower, {BY_HAND}", by_hand, None),
            _tracing("trace and lower", ours, f"trace and lower, {BY_HAND}"),
            _compiling(f"compile, {BY_HAND}", by_hand, None),
            _compiling("compile", ours, f"compile, {BY_HAND}"),
            _both(f"both, {BY_HAND}", by_hand, None),
            _both("both", ours, f"both, {BY_HAND}"),
        ],
        figure=FIGURE,
        panel=name,
        notes=("JAX's caches are cleared before each",),
        seconds=45.0,
    )


def _tracing(name: str, update: Update, against: str | None) -> Contender:
    return _once(name, update.lower, jax.clear_caches, against)


def _compiling(name: str, update: Update, against: str | None) -> Contender:
    lowered: list[jax.stages.Lowered] = []

    def prepare() -> None:
        jax.clear_caches()
        # What one of these compiled, it keeps.
        lowered[:] = [update.lower()]

    return _once(name, lambda: lowered[0].compile(), prepare, against)


def _both(name: str, update: Update, against: str | None) -> Contender:
    return _once(name, lambda: update.lower().compile(), jax.clear_caches, against)


def _once(
    name: str, run: Callable[[], object], prepare: Callable[[], object], against: str | None
) -> Contender:
    return Contender(name, run=run, wait=_nothing, against=against, calls=1, prepare=prepare)


def _flatten(num_learned: int, num_input: int) -> Comparison:
    """Every call of a jitted function flattens its arguments."""
    states = {
        "training_metrics": jsm.training_metrics(num_learned, num_input).init(),
        "evaluation_metrics": jsm.evaluation_metrics(num_learned, num_input).init(),
    }
    contenders = []
    for name, state in states.items():
        plain = f"{name}, {BY_HAND}: nested dictionaries"
        for label, tree, against in ((plain, _in_dictionaries(state), None), (name, state, plain)):
            flatten = partial(jax.tree.flatten, tree)
            contenders.append(Contender(label, run=flatten, wait=_nothing, against=against))
    return Comparison(
        suite="tracing",
        title="flatten a state",
        shape=f"{num_learned} learned",
        dtype="float32",
        contenders=contenders,
        figure=FIGURE,
        panel="flatten a state",
        seconds=4.0,
    )


def _in_dictionaries(state: PyTree[Array]) -> dict[str, Any]:
    """The same arrays at the same depths."""
    nested: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        *parents, last = map(str, path)
        inner = nested
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = leaf
    return nested


def _nothing() -> None:
    """Calls return when they are done."""
