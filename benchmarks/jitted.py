"""Contenders that are jitted functions of a donated state."""

import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jaxtyping import PyTree

from .measure import Contender

Batch = Mapping[str, PyTree]


def jitted(
    name: str,
    function: Callable[..., Any],
    state: PyTree,
    *batches: Batch,
    against: str | None = None,
    items: int | None = None,
    returns_value: bool = False,
) -> Contender:
    """Jit `function(state, **batch)`, which returns the next state, or that and a value.

    The state is donated and handed on from call to call, as in training. The calls of a sample
    thus depend on each other, and no two of them run at the same time. Batches are used in turn.
    """
    start = time.perf_counter()
    # JAX has not compiled a new function before: this measures the whole compilation.
    new = lambda state, **batch: function(state, **batch)  # noqa: E731
    compiled = jax.jit(new, donate_argnums=0).lower(state, **batches[0]).compile()
    compile_seconds = time.perf_counter() - start
    in_turn = itertools.cycle(batches)
    value = None

    def run() -> None:
        nonlocal state, value
        state = compiled(state, **next(in_turn))
        if returns_value:
            state, value = state

    return Contender(
        name=name,
        run=run,
        wait=lambda: jax.block_until_ready((state, value)),
        against=against,
        items=items,
        compile_seconds=compile_seconds,
        temporary_bytes=_temporary_bytes(compiled),
    )


def _temporary_bytes(compiled: jax.stages.Compiled) -> int | None:
    """The bytes that the compiler sets aside besides arguments and results, if it says so."""
    analysis = compiled.memory_analysis()
    return None if analysis is None else int(analysis.temp_size_in_bytes)
