"""An activation below the smallest normal float32 is zero in every metric, however it is run."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_sae_metrics as jsm
from jax_sae_metrics._metric.base import Above, activity_test
from jax_sae_metrics._reductions import Reduction
from metric_case import LEARNED, NORMS, TRUE, by_name, draw_inputs
from metric_cases import DEFAULT_CASES, LEAF_CASES
from runners import RUNNERS
from selection import all_of
from test_forms import every_form, vectors_of

SMALLEST_NORMAL = 2.0**-126
ZEROS = {
    "float32": (jnp.float32, SMALLEST_NORMAL * (1 - 2.0**-23)),
    "bfloat16": (jnp.bfloat16, SMALLEST_NORMAL * (1 - 2.0**-7)),
    "smallest float32": (jnp.float32, 2.0**-149),
    "x64": (jnp.float64, SMALLEST_NORMAL * (1 - 2.0**-52)),
}
NOT_ZEROS = {
    "float32": (jnp.float32, SMALLEST_NORMAL),
    "bfloat16": (jnp.bfloat16, SMALLEST_NORMAL),
    "float16": (jnp.float16, 2.0**-24),  # a denormal float16
    "x64": (jnp.float64, SMALLEST_NORMAL),
}
zeros = pytest.mark.parametrize("zero", all_of(ZEROS, by_default=["bfloat16"]))
numbers = pytest.mark.parametrize(
    ("dtype", "number", "is_zero"),
    [
        *((*number, True) for number in ZEROS.values()),
        *((*number, False) for number in NOT_ZEROS.values()),
    ],
    ids=[*(f"{name}, zero" for name in ZEROS), *(f"{name}, not zero" for name in NOT_ZEROS)],
)
READ_LEARNED = [case for case in LEAF_CASES if {*case.inputs} <= {*LEARNED, *TRUE, *NORMS}]


def with_x64(dtype):
    return jax.enable_x64(True) if dtype == jnp.float64 else contextlib.nullcontext()


def draw(dtype, in_place_of_zeros):
    """Inputs in which the zeros of signed activations are another number, of both signs."""
    inputs = draw_inputs([*LEARNED, *TRUE, *NORMS], (34, 2), None)
    for name in (*LEARNED, *TRUE):
        values = inputs[name].astype(float)
        values[::5] = 0  # whole vectors
        signs = np.random.default_rng(0).choice([-1, 1], values.shape)
        inputs[name] = np.where(values == 0, signs * in_place_of_zeros, values)
    return {name: jnp.asarray(values.astype(dtype)) for name, values in inputs.items()}


def as_top_k(inputs):
    values = inputs["learned_activations"]
    indices = jnp.broadcast_to(jnp.arange(values.shape[-1], dtype=jnp.int32), values.shape)
    return inputs | {"learned_activations": jsm.TopKActivations(values, indices, values.shape[-1])}


FORMS = {"dense": lambda inputs: inputs, "TopK": as_top_k}


def value(runner, cases, inputs):
    """The values of a collection of metrics; of a metric alone if there is one."""
    metrics = {case.name: case.build(None) for case in cases}
    metric = jsm.MetricCollection(metrics) if len(cases) > 1 else cases[0].build(None)
    names = {name for case in cases for name in case.inputs}
    return by_name(RUNS[runner](metric, {name: inputs[name] for name in names}))


def of_constants(metric, inputs):
    """Where XLA compares constants, while it compiles, no denormal is zero on any platform."""
    return metric.compute(jax.jit(lambda: metric.update(metric.init(), **inputs))())


RUNS = {
    **{
        name: lambda metric, inputs, run=run: run(metric, [inputs]) for name, run in RUNNERS.items()
    },
    "constants": of_constants,
}


def assert_are_zeros(runner, cases, form, zero):
    dtype, number = ZEROS[zero]
    with with_x64(dtype):
        got, want = (value(runner, cases, FORMS[form](draw(dtype, n))) for n in (number, 0.0))
        for name in want:
            np.testing.assert_array_equal(got[name], want[name], err_msg=name)


def takes(form, case):
    return form == "dense" or "true_activations" not in case.inputs


@zeros
@pytest.mark.exhaustive
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("runner", ["eager", "jit", "scan", "constants"])
def test_denormals_are_zeros_to_all_metrics_together(runner, form, zero):
    cases = [case for case in READ_LEARNED if takes(form, case)]
    assert_are_zeros(runner, cases, form, zero)


ALONE = [
    (case, form)
    for case in READ_LEARNED
    for form in FORMS
    if case in DEFAULT_CASES and takes(form, case)
]


@zeros
@pytest.mark.parametrize(
    ("case", "form"),
    all_of(ALONE, by_default=[one for one in ALONE if one[0].name == "L0Norm"]),
    ids=lambda value: getattr(value, "name", value),
)
@pytest.mark.parametrize("runner", ["eager", "jit", "constants"])
def test_denormals_are_zeros_to_a_metric_alone(runner, case, form, zero):
    assert_are_zeros(runner, [case], form, zero)


@numbers
@pytest.mark.parametrize("form", FORMS)
def test_what_counts(form, dtype, number, is_zero):
    """Four activations, one of them negative, in each of three vectors."""
    metrics = {
        "l0": jsm.L0Norm(),
        "positive": jsm.L0Norm(absolute=False),
        "fired": jsm.NeuronFiredCount(4),
        "tiny threshold": jsm.NeuronFiredCount(4, threshold=2.0**-140),
        "histogram": jsm.L0Histogram(4, quantiles=(0.5,)),
    }
    with with_x64(dtype):
        values = jnp.asarray((number * np.array([[1, 1, -1, 1]] * 3)).astype(dtype))
        inputs = FORMS[form]({"learned_activations": values})
        together = jsm.MetricCollection(metrics)
        found = together.compute(jax.jit(together.update)(together.init(), **inputs))
        wanted = {
            "l0": 4,
            "positive": 3,
            "fired": [3, 3, 0, 3],
            "tiny threshold": [3, 3, 0, 3],
            "histogram/quantiles": [4],
        }
        for result, want in wanted.items():
            np.testing.assert_array_equal(found[result], 0 * np.array(want) if is_zero else want)


@numbers
@every_form
def test_what_counts_in_every_form(form, dtype, number, is_zero):
    kinds = ("sum_per_feature", "sum_per_vector", "last_per_feature")
    tests = {"positive": Above(0.0), "not zero": activity_test(0.0, absolute=True)}
    reductions = [Reduction(kind, test) for kind in kinds for test in tests.values()]
    with with_x64(dtype):
        x = jnp.asarray(np.full((64, 32), number).astype(dtype))

        def reduce(x):
            vectors = vectors_of((x,), None, 1)
            alone = [one for r in reductions for one in form((r,), vectors, 1)]
            return form(tuple(reductions), vectors, 1), alone

        together, alone = jax.jit(reduce)(x)
    size_of = {"sum_per_feature": 64, "sum_per_vector": 32, "last_per_feature": 64}
    for reduction, *got in zip(reductions, together, alone, strict=True):
        want = 0 if is_zero else size_of[reduction.kind]
        for one in got:
            np.testing.assert_array_equal(one, np.full(one.shape, want))
