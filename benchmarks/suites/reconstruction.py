"""Statistics of source and decoded activations, against one read of both."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

import jax_sae_metrics as jsm
from jax_sae_metrics._reductions import Reduction, reduce_all

from ..inputs import in_words
from ..jitted import jitted
from ..measure import Comparison, Figure

if TYPE_CHECKING:
    from . import Builder

FIGURE = Figure(
    "reconstruction",
    "Statistics of source and decoded activations, against one read of both",
    "time, in reads of both arrays",
)
READ = "one read of both"


def squared_error(source: Array, decoded: Array) -> Array:
    """For the reconstruction loss and the variance unexplained."""
    return jnp.square(source - decoded)


def source_squared(source: Array, _: Array) -> Array:
    """For the norm of the source."""
    return jnp.square(source)


def decoded_squared(_: Array, decoded: Array) -> Array:
    """For the norm of the decoded."""
    return jnp.square(decoded)


def product(source: Array, decoded: Array) -> Array:
    """For the cosine of the angle between both."""
    return source * decoded


def source_itself(source: Array, _: Array) -> Array:
    """For the mean of each input feature, which with the squares gives the variance."""
    return source


FUNCTIONS = {
    "sum_per_feature": (source_itself, source_squared),
    "sum_per_vector": (squared_error, source_squared, decoded_squared, product),
}
ALL = tuple(Reduction(kind, f) for kind, functions in FUNCTIONS.items() for f in functions)


def suite(is_quick: bool) -> "Iterator[Builder]":
    """Both dtypes."""
    shape = (64, 128) if is_quick else (4096, 4096)
    for dtype in ("float32", "bfloat16"):
        yield partial(_compare, shape, dtype)


def _compare(shape: tuple[int, int], dtype: str) -> Comparison:
    source, noise = (
        jax.random.normal(key, shape).astype(dtype) for key in jax.random.split(jax.random.key(0))
    )
    batch = {"source_activations": source, "decoded_activations": source + noise / 2}
    loss = jsm.L2ReconstructionLoss()
    by_name = {
        "four sums per vector": ALL[2:],
        "two sums per feature": ALL[:2],
        "all six sums": ALL,
    }
    return Comparison(
        suite="reconstruction",
        title=f"{in_words(shape)} {dtype}, twice",
        shape=in_words(shape),
        dtype=dtype,
        contenders=[
            jitted(READ, _read_once, jnp.float32(0), batch),
            *(
                jitted(
                    name,
                    partial(_add_sums, reductions),
                    _zeros(reductions, shape),
                    batch,
                    against=READ,
                )
                for name, reductions in by_name.items()
            ),
            jitted("L2ReconstructionLoss", loss.update, loss.init(), batch, against=READ),
            jitted(
                "all six sums, naive JAX", _add_naive_sums, _zeros(ALL, shape), batch, against=READ
            ),
        ],
        figure=FIGURE,
        panel=in_words(shape),
        series=dtype,
        notes=(
            "per vector: squared error, both squared norms, product; "
            "per feature: sum and sum of squares of the source",
        ),
    )


def _read_once(state: Array, *, source_activations: Array, decoded_activations: Array) -> Array:
    highest = jnp.maximum(jnp.max(source_activations), jnp.max(decoded_activations))
    return jnp.maximum(state, highest.astype(jnp.float32))


def _zeros(reductions: tuple[Reduction, ...], shape: tuple[int, int]) -> list[Array]:
    return [jnp.zeros(shape[not reduction.is_per_vector]) for reduction in reductions]


def _add_sums(
    reductions: tuple[Reduction, ...],
    state: PyTree[Array],
    *,
    source_activations: Array,
    decoded_activations: Array,
) -> PyTree[Array]:
    arrays = (source_activations, decoded_activations)
    sums = reduce_all(reductions, arrays, mask=None, num_item_axes=1, axis_name=None)
    return jax.tree.map(jnp.add, state, sums)


def _add_naive_sums(
    state: PyTree[Array], *, source_activations: Array, decoded_activations: Array
) -> PyTree[Array]:
    arrays = [array.astype(jnp.float32) for array in (source_activations, decoded_activations)]
    sums = [r.function(*arrays).sum(-1 if r.is_per_vector else 0) for r in ALL]
    return jax.tree.map(jnp.add, state, sums)
