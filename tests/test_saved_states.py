"""States that earlier releases saved are loaded, and have the values that they had."""

import pathlib

import numpy as np
import pytest

import jax_sae_metrics as jsm
from jax_sae_metrics._core.constructor_call import metric_of
from jax_sae_metrics._core.state_dict import in_text

FILES = sorted((pathlib.Path(__file__).parent / "data").glob("states_*.npz"))


def saved():
    """Each collection in each file: its state dictionary, and its value by name."""
    for path in FILES:
        with np.load(path) as file:
            arrays = dict(file)
        for group in dict.fromkeys(name.partition("/")[0] for name in arrays):
            parts = [
                {
                    name.removeprefix(start): a
                    for name, a in arrays.items()
                    if name.startswith(start)
                }
                for start in (f"{group}/saved/", f"{group}/value/")
            ]
            yield pytest.param(*parts, id=f"{path.stem}, {group}")


def of_library(name):
    return getattr(jsm, name)


@pytest.mark.parametrize(("state_dict", "values"), [*saved()])
def test_a_saved_state_has_its_value(state_dict, values):
    metric = metric_of(in_text(state_dict["metric"]), of_library)
    found = metric.compute(metric.from_state_dict(state_dict))
    assert found.keys() == values.keys()
    for name, value in values.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-7, err_msg=name)
