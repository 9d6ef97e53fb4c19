"""Evaluations in files, which say what metric they hold the state of."""

import json
import os
import pickle
import zipfile
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

import jax_sae_metrics as jsm

from .._core import AbstractMetric
from .._core.constructor_call import metric_of
from .._core.flatten import flatten
from .._core.state_dict import in_bytes, in_text, plain


def save(
    path: str | os.PathLike[str], metric: AbstractMetric[Any], state: Any, about: Mapping[str, str]
) -> None:
    """Write a flat `.npz` file, which needs no pickle."""
    arrays = flatten(metric.state_dict(state)) | {"about": in_bytes(json.dumps(about))}
    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays)


def load(
    path: str | os.PathLike[str], metric: AbstractMetric[Any] | None
) -> tuple[AbstractMetric[Any], Any, dict[str, str]]:
    """The metric, its state, and what there is to know about them."""
    try:
        arrays = flatten(plain(_arrays_in(path)))
    except (zipfile.BadZipFile, pickle.UnpicklingError, ValueError, EOFError) as error:
        raise ValueError(
            f"{path}: expected a file that `Evaluation.save` wrote, or `np.savez` of a state_dict. "
            f"{error}"
        ) from None
    about = json.loads(in_text(arrays.pop("about", in_bytes("{}"))))
    if metric is None:
        if "metric" not in arrays:
            raise ValueError(
                f"{path}: it does not say what metric it is of. Pass the metric to `load`."
            )
        metric = metric_of(in_text(arrays["metric"]), _class_of)
    return metric, metric.from_state_dict(arrays), about


def _class_of(name: str) -> Any:
    """The metric of this library that has a name."""
    found = getattr(jsm, name, None)
    if not (isinstance(found, type) and issubclass(found, AbstractMetric)):
        raise ValueError(
            f"{name} is not a metric of this library. Pass the metric to `Evaluation.load`."
        )
    return found


def _arrays_in(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The arrays of an `.npz` file, and the dictionaries of arrays that NumPy pickles in one."""
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as file:
                np.lib.format.read_magic(file)
                _, _, dtype = np.lib.format.read_array_header_1_0(file)
                if dtype.hasobject:
                    array = _ArraysOnly(file).load()
                else:
                    file.seek(0)
                    array = np.lib.format.read_array(file)
            arrays[member.removesuffix(".npy")] = array
    return arrays


class _ArraysOnly(pickle.Unpickler):
    """Reads what NumPy pickles of dictionaries of arrays. A file of anything else runs nothing."""

    _CONSTRUCTORS = ("_reconstruct", "ndarray", "dtype", "_frombuffer", "scalar")

    def find_class(self, module: str, name: str) -> Any:
        """The constructors of arrays."""
        if module.partition(".")[0] != "numpy" or name not in self._CONSTRUCTORS:
            self._refuse(f"{module}.{name}")
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> NoReturn:
        """Nothing is stored elsewhere."""
        self._refuse(repr(pid))

    def _refuse(self, what: str) -> NoReturn:
        raise pickle.UnpicklingError(f"It holds {what}, which is not an array.")
