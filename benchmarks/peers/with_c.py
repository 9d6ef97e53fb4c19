"""The loops of `in_c.c`, compiled on the spot, on the arrays where JAX has them."""

import ctypes
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from ..environment import num_cores
from ..measure import Contender
from ..optional import skip

NOTE = (
    "C: blocks in the cache, vectors of 32 bytes, all cores; float32 sums without compensation, "
    "which are not added to a state; a positive NaN counts as fired"
)
Sums = dict[str, np.ndarray]
Batch = Mapping[str, Array]

_FLAGS = ("-O3", "-march=native", "-shared", "-fPIC")
_LANES = {"float32": np.int32, "bfloat16": np.int16}
# Rows and columns are read so many at a time: no array ends in between.
_ROWS, _COLUMNS = 4, 16
# Sums of so many rows do not overflow 16 bits, and there is work for all cores until the end.
_MOST_ROWS = 512


def contenders(batch: Batch, against: str) -> list[Contender]:
    """One read, the sums behind `training_metrics`, and both parts of these sums."""
    dtype = str(batch["learned_activations"].dtype)
    if library(dtype) is None:
        return []
    functions = {
        "C, one read": read_once,
        "C, sums of training_metrics": training,
        "C, of learned alone": of_learned,
        "C, of source and decoded alone": of_reconstruction,
    }
    return [
        Contender(name, run=functools.partial(run, batch), wait=_nothing, against=against)
        for name, run in functions.items()
    ]


def read_once(batch: Batch) -> None:
    """Read every array."""
    loops = _loops(batch)

    def read(start: int, stop: int) -> None:
        for array in batch.values():
            rows = np.asarray(array)[start:stop]
            _call(loops.read_once, rows, rows.size)

    _in_parts(read, batch)


def training(batch: Batch) -> Sums:
    """What `careful.training` finds of one batch, by the same names."""
    return of_learned(batch) | of_reconstruction(batch)


def of_learned(batch: Batch) -> Sums:
    """Of each learned feature and each vector: how often and when last it fired, L0 and L1."""
    loops, learned = _loops(batch), np.asarray(batch["learned_activations"])
    lane = _LANES[str(learned.dtype)]

    def find(start: int, stop: int) -> tuple[np.ndarray, ...]:
        rows = learned[start:stop]
        (num_rows, columns), (fired, last) = rows.shape, np.zeros((2, rows.shape[1]), lane)
        l0, l1 = np.zeros((2, num_rows), np.float32)
        _call(loops.learned, rows, num_rows, columns, fired, last, l0, l1)
        return fired, np.where(last > 0, last + np.int32(start), 0), l0, l1

    fired, last, l0, l1 = zip(*_in_parts(find, batch), strict=True)
    return {
        "fired": np.sum(fired, 0, dtype=np.int32),
        "last_fired": np.max(last, 0),
        "l0": _sum_and_squares(np.concatenate(l0)),
        "l1": _sum_and_squares(np.concatenate(l1)),
        "num_items": np.int32(len(learned)),
    }


def of_reconstruction(batch: Batch) -> Sums:
    """Moments of the source and of the error, and the products of squared errors and norms."""
    loops = _loops(batch)
    source, decoded = (np.asarray(batch[f"{name}_activations"]) for name in ("source", "decoded"))
    columns = source.shape[1]

    def find(start: int, stop: int) -> tuple[np.ndarray, ...]:
        moments = np.zeros(4 * columns, np.float32)
        errors, norms = np.zeros((2, stop - start), np.float32)
        arrays = source[start:stop], decoded[start:stop]
        _call(loops.reconstruction, *arrays, stop - start, columns, moments, errors, norms)
        return moments, errors, norms

    moments, errors, norms = zip(*_in_parts(find, batch), strict=True)
    errors, norms = np.concatenate(errors), np.concatenate(norms)
    products = (errors, norms, errors**2, errors * norms, norms**2)
    of_source, of_error = np.split(_in_order(np.sum(moments, 0), source.dtype.itemsize), 2)
    both = np.stack([one.sum() for one in products])
    return {"source": of_source, "error": of_error, "both": both}


def _in_order(moments: np.ndarray, itemsize: int) -> np.ndarray:
    """From `[column // lanes, half, moment, lane]` to `[moment, column]`: halves take turns."""
    halves, width = 4 // itemsize, 8
    blocks = moments.reshape(-1, halves, 4, width)
    return np.moveaxis(blocks, (2, 0, 3, 1), (0, 1, 2, 3)).reshape(4, -1)


def _sum_and_squares(of_each: np.ndarray) -> np.ndarray:
    return np.stack([of_each.sum(), np.square(of_each).sum()])


def _loops(batch: Batch) -> ctypes.CDLL:
    for array in batch.values():
        if len(array) % _ROWS or array.shape[1] % _COLUMNS:
            raise ValueError(f"The loops in C take no array of shape {array.shape}.")
    loops = library(str(batch["learned_activations"].dtype))
    if loops is None:
        raise RuntimeError("The loops in C could not be compiled.")
    return loops


@functools.cache
def library(dtype: str) -> ctypes.CDLL | None:
    """Compile the loops; if that cannot be, say why and return None."""
    platform = jax.default_backend()
    if platform != "cpu":
        skip(f"loops in C: arrays are on a {platform}")
        return None
    if shutil.which("cc") is None:
        skip("loops in C: there is no compiler `cc`")
        return None
    size = np.dtype(_LANES[dtype]).itemsize
    options = [f"-DLANE=int{8 * size}_t", f"-DHALVES={4 // size}"]
    source = Path(__file__).with_name("in_c.c")
    with tempfile.TemporaryDirectory() as folder:
        compiled = Path(folder) / "in_c.so"
        try:
            subprocess.run(["cc", *_FLAGS, *options, str(source), "-o", str(compiled)], check=True)
        except subprocess.CalledProcessError as error:
            skip(f"loops in C: {error}")
            return None
        return ctypes.CDLL(str(compiled))


def _call(function: Any, *arguments: np.ndarray | int) -> None:
    function(
        *(
            ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray) else ctypes.c_long(a)
            for a in arguments
        )
    )


def _in_parts(function: Callable[[int, int], Any], batch: Batch) -> list[Any]:
    """Call it with the first row and the end of each part of the batch, one part on each core."""
    size = len(batch["learned_activations"])
    rows = min(_MOST_ROWS, -(-size // (num_cores() * _ROWS)) * _ROWS)
    starts = range(0, size, rows)
    return list(_pool().map(function, starts, [min(start + rows, size) for start in starts]))


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_cores())


def _nothing() -> None:
    """Calls return when they are done."""
