"""Every metric, in every way of running it, at every dtype and mask, against the oracle."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_sae_metrics as jsm
from metric_case import (
    INTEGERS,
    UNBATCHED,
    assert_matches,
    by_what_they_read,
    draw_inputs,
    expected,
)
from metric_cases import ALL_CASES, DEFAULT_CASES
from runners import COMPILED_BY_DEFAULT, RUNNERS
from selection import all_of
from subjects import own

NUM_BATCHES = 2
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "x64": jnp.float64}
GROUPS = by_what_they_read(DEFAULT_CASES)


def nothing_masked_out(shape, num_components, seed):
    return None


def a_component_and_a_batch_masked_out(shape, num_components, seed):
    """Mask all of the last component, the last batch of the one before, and parts of others."""
    mask = np.random.default_rng(seed).random((*shape, num_components)) < 0.6
    mask[..., -1] = False
    mask[..., -2] &= seed < NUM_BATCHES - 1
    return mask


# Each of 8 devices has 34 items: more than XLA:CPU reduces in one go, and not a multiple.
LAYOUTS = {
    "vectors": ((272,), None, nothing_masked_out),
    "masked sequences of 3 components": ((136, 2), 3, a_component_and_a_batch_masked_out),
}


@functools.cache
def draw_batches(names, layout, dtype):
    """Draw batches in which what is masked out is NaN."""
    shape, num_components, draw_mask = LAYOUTS[layout]
    batches = []
    for seed in range(NUM_BATCHES):
        inputs = draw_inputs(names, shape, num_components, seed)
        batch = {
            name: jnp.asarray(values, None if name in INTEGERS else DTYPES[dtype])
            for name, values in inputs.items()
        }
        mask = draw_mask(shape, num_components, seed)
        if mask is not None:
            poisoned = {
                n: poison(v, mask) for n, v in batch.items() if n not in UNBATCHED | INTEGERS
            }
            batch |= poisoned | {"mask": jnp.asarray(mask)}
        batches.append(batch)
    return batches


def poison(values, mask):
    keep = jnp.asarray(mask.reshape(*mask.shape, *(1,) * (values.ndim - mask.ndim)))
    return jnp.where(keep, values, jnp.full_like(values, jnp.nan))


@functools.cache
def wanted(case, names, layout, dtype):
    _, num_components, _ = LAYOUTS[layout]
    return expected(case, draw_batches(names, layout, dtype), num_components)


MASKED = "masked sequences of 3 components"
CELLS = [
    *((runner, MASKED, "float32") for runner in RUNNERS),
    *((runner, "vectors", "float32") for runner in ("eager", "scan", *COMPILED_BY_DEFAULT)),
    *((runner, MASKED, dtype) for runner in ("eager", *COMPILED_BY_DEFAULT) for dtype in DTYPES),
]


@pytest.fixture(autouse=True)
def programs_of_one_cell():
    """No two cells share a compiled program, so none is kept."""
    yield
    jax.clear_caches()


@pytest.mark.parametrize(
    ("runner", "layout", "dtype"),
    all_of(dict.fromkeys(CELLS), by_default=[("jit donated", MASKED, "float32")]),
    ids=lambda name: name,
)
@pytest.mark.parametrize("group", GROUPS)
def test_every_metric_equals_its_oracle(group, runner, layout, dtype):
    shape, num_components, _ = LAYOUTS[layout]
    cases = [case for case in GROUPS[group] if case.runs_in(runner, shape, num_components)]
    names = tuple(sorted({name for case in cases for name in case.inputs}))
    metrics = jsm.MetricCollection({case.name: case.build(num_components) for case in cases})
    with jax.enable_x64(dtype == "x64"):
        values = RUNNERS[runner](metrics, draw_batches(names, layout, dtype))
        mismatches = []
        for case in cases:
            try:
                assert_matches(case, own(values, case.name), wanted(case, names, layout, dtype))
            except AssertionError as error:
                mismatches.append(f"{case.name}: {error}")
    assert not mismatches, "\n\n".join(mismatches)


def test_every_public_metric_is_in_the_matrix():
    def types(metric):
        inner = list(getattr(metric, "metrics", {}).values())
        return {type(metric)}.union(*map(types, inner))

    tested = set().union(*(types(case.build(3)) for case in ALL_CASES))
    assert {type(case.build(3)) for case in DEFAULT_CASES} == tested
    public = {
        value
        for value in vars(jsm).values()
        if inspect.isclass(value)
        and issubclass(value, jsm.AbstractMetric)
        and not inspect.isabstract(value)
    }
    assert public == tested
