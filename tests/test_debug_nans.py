"""`jax_debug_nans` stops where a value is NaN, and nowhere on the way to one that is not."""

import jax
import numpy as np
import pytest

from metric_case import by_name, draw_inputs
from metric_cases import LEAF_CASES
from selection import all_of


@pytest.fixture
def debug_nans():
    with jax.debug_nans(True):
        yield


@pytest.mark.parametrize(
    "case", all_of(LEAF_CASES, by_default=LEAF_CASES[::16]), ids=lambda case: case.name
)
@pytest.mark.parametrize("run", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_debug_nans_stop_at_values_alone(case, run, debug_nans):
    metric = case.build(3)
    inputs = draw_inputs(case.inputs, case.batch_shape(6), 3)
    state = run(metric.update)(metric.init(), **inputs)
    for read in (metric.compute, metric.standard_error):
        with jax.debug_nans(False):
            try:
                values = by_name(read(state))
            except TypeError:
                continue  # no standard error
        if any(np.isnan(value).any() for value in values.values()):
            with pytest.raises(FloatingPointError):
                run(read)(state)
        else:
            run(read)(state)
