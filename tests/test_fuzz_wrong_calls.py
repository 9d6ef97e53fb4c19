"""Wrong calls by the thousand: each gives an error that names the argument, or the right number."""

import functools

import jax
import numpy as np
import pytest

from metric_case import assert_matches, draw_inputs, expected
from metric_cases import LEAF_CASES
from no_arrays import NO_ARRAYS
from selection import all_of

CALLS_OF_EACH_METRIC = 48  # 2208 in all
COMPONENTS = 3
DTYPES = (bool, np.int8, np.uint8, np.int32, np.float16, np.float64, np.complex64, "datetime64[s]")
COMPONENT_INDICES = (-1, COMPONENTS, 7, 1.0, "0", True, np.arange(2), np.float32(1), (0,))


def another_shape(rng, name, value):
    """Axes that are dropped, added, swapped, and cut or repeated to another length."""
    axis = rng.integers(value.ndim)
    indices = np.arange(value.shape[axis])
    return [
        np.take(value, 0, axis),
        np.expand_dims(value, axis),
        np.moveaxis(value, axis, 0),
        np.take(value, indices[1:], axis),
        np.take(value, indices[:1], axis),
        np.take(value, indices[:0], axis),
        np.take(value, [*indices, 0], axis),
        np.concatenate([value, value], axis),
        np.float32(value.flat[0]),
    ][rng.integers(9)]


def another_dtype(rng, name, value):
    return value.astype(DTYPES[rng.integers(len(DTYPES))])


def no_array(rng, name, value):
    return [*NO_ARRAYS.values()][rng.integers(len(NO_ARRAYS))][0]


def changed(change):
    """A change of the value of one input."""

    def change_one(rng, inputs):
        name = str(rng.choice([*inputs]))
        return name, inputs | {name: change(rng, name, inputs[name])}

    return change_one


def misspelt(rng, inputs):
    name = str(rng.choice([*inputs]))
    wrong = [name + "s", name[:-1], name.title(), name.replace("_", "")][rng.integers(4)]
    return name, {wrong if given == name else given: value for given, value in inputs.items()}


def left_out(rng, inputs):
    name = str(rng.choice([*inputs]))
    return name, {given: value for given, value in inputs.items() if given != name}


def one_too_many(rng, inputs):
    name = ["activations", "masks", "batch", "x"][rng.integers(4)]
    return name, inputs | {name: next(iter(inputs.values()))}


def component_idx(rng, inputs):
    index = COMPONENT_INDICES[rng.integers(len(COMPONENT_INDICES))]
    return "component_idx", inputs | {"component_idx": index}


def axis_name(rng, inputs):
    return "axis_name", inputs | {"axis_name": ["data", ("data", "model"), 3][rng.integers(3)]}


# Most often of all, a shape is wrong.
CHANGES = [
    *[changed(another_shape)] * 4,
    *[changed(another_dtype)] * 2,
    changed(no_array),
    misspelt,
    left_out,
    one_too_many,
    component_idx,
    axis_name,
]


@functools.partial(jax.jit, static_argnums=0)
def value_of(metric, inputs):
    return metric.compute(metric.update(metric.init(), **inputs))


def draw_call(case, rng):
    """A right call: components or none, one or more batch axes, with a mask or without."""
    num_components = COMPONENTS if case.needs_components or rng.random() < 0.5 else None
    shape = case.batch_shape(4) if rng.random() < 0.5 else (4, 2)
    inputs = draw_inputs(case.inputs, shape, num_components, seed=0)
    if rng.random() < 0.5:
        of_components = () if num_components is None or rng.random() < 0.5 else (num_components,)
        inputs["mask"] = rng.random((*shape, *of_components)) < 0.7
    return num_components, inputs


def error_of(call):
    """The error of a call, if it is of a kind that says what was wrong."""
    try:
        jax.eval_shape(call)
    except (TypeError, ValueError, IndexError, NameError) as error:
        return error


@pytest.mark.parametrize(
    "case", all_of(LEAF_CASES, by_default=LEAF_CASES[::16]), ids=lambda case: case.name
)
def test_a_wrong_call_names_the_argument_or_gives_the_right_number(case):
    rng = np.random.default_rng(list(case.name.encode()))
    for _ in range(CALLS_OF_EACH_METRIC):
        num_components, inputs = draw_call(case, rng)
        name, wrong = CHANGES[rng.integers(len(CHANGES))](rng, inputs)
        metric = case.build(num_components)
        if error := error_of(lambda m=metric, w=wrong: m.update(m.init(), **w)):
            assert name in str(error), f"{case.name} of {wrong}: {error}"
        else:
            wanted = expected(case, [wrong], num_components)
            assert_matches(case, value_of(metric, wrong), wanted)
