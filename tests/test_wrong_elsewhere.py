"""What other tools get wrong, one case each: the naive formula is off, and this library is not."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, PartitionSpec as P

import jax_sae_metrics as jsm

NUM_DEVICES = 8


@dataclasses.dataclass(frozen=True)
class Case:
    """A number, as the naive formula gives it and as this library gives it."""

    naive: Callable[[], Any]
    here: Callable[[], Any]
    truth: Any


def run(metric, *batches):
    return metric.compute(
        functools.reduce(lambda s, b: metric.update(s, **b), batches, metric.init())
    )


def over_devices(function, *arguments):
    mesh = jax.make_mesh((NUM_DEVICES,), ("data",), axis_types=(AxisType.Auto,))
    specs = {"in_specs": P("data"), "out_specs": P()}
    return jax.jit(jax.shard_map(function, mesh=mesh, **specs))(*arguments)


def repeated(metric, times, **batch):
    """The state after many equal batches, whose observations are multiplied instead of repeated."""
    one = metric.observe(**batch)
    return metric.accumulate(
        metric.init(), jax.tree.map(lambda x: x * jnp.asarray(times, x.dtype), one)
    )


# One vector with an unexplained tenth, and nine with nine tenths, each of variance 1 in all.
SIGNS = np.array([[1.0], [-1.0]], np.float32)
MERGED = [
    {
        "source_activations": SIGNS * np.ones((n, 2, 1), np.float32),
        "decoded_activations": (1 - np.sqrt(unexplained)) * SIGNS * np.ones((n, 2, 1), np.float32),
    }
    for n, unexplained in ((1, 0.1), (9, 0.9))
]


def mean_of_batches():
    metric = jsm.ExplainedVariance(num_input_features=1)
    return np.mean([run(metric, batch) for batch in MERGED])


FIRED = {"learned_activations": jnp.ones((1, 1))}
MANY_ACTIVE = {"learned_activations": jnp.ones((10_000, 100))}


def float32_counter(start, step, times):
    counter = lax.fori_loop(0, times, lambda _, c: c + jnp.float32(step), jnp.float32(start))
    return int(counter)


def count_fired(start, step, times):
    metric = jsm.NeuronFiredCount(num_learned_features=1)
    state = repeated(metric, start, **FIRED)
    added = jax.tree.map(lambda x: x * step, metric.observe(**FIRED))
    state = lax.fori_loop(0, times, lambda _, s: metric.accumulate(s, added), state)
    return int(metric.compute(state)[0])


def int32_l0():
    total = lax.fori_loop(0, 2200, lambda _, t: t + jnp.int32(1_000_000), jnp.int32(0))
    return float(total) / 22_000_000


def exact_l0():
    metric = jsm.L0Norm()
    one = metric.observe(**MANY_ACTIVE)
    state = lax.fori_loop(0, 2200, lambda _, s: metric.accumulate(s, one), metric.init())
    assert int(state.num_units.to_numpy()) == 22_000_000
    return metric.compute(state)


WITH_NAN = jnp.array([[1.0, 2.0], [jnp.nan, jnp.inf]])
MASK = jnp.array([True, False])
CANCELLING = jnp.array([[1.0], [-1.0]])
TOP_K = jsm.TopKActivations(
    values=jnp.array([[1.0, 1.0]]), indices=jnp.array([[0, -1]]), num_learned_features=3
)
TOKENS = jnp.ones((NUM_DEVICES * 10, 1))


def summed_twice(activations):
    metric = jsm.NeuronFiredCount(num_learned_features=1)
    state = metric.update(metric.init(), learned_activations=activations, axis_name="data")
    return lax.psum(metric.compute(state)[0], "data")


def summed_once(activations):
    metric = jsm.NeuronFiredCount(num_learned_features=1)
    state = metric.update(metric.init(), learned_activations=activations, axis_name="data")
    return metric.compute(state)[0]


# Nothing fires for 80 tokens, 10 on each device: dead after 50 of them.
SILENT = jnp.zeros((NUM_DEVICES * 10, 1))


def local_age(activations):
    return lax.pmax(jnp.int32(len(activations) >= 50), "data")


def global_age(activations):
    metric = jsm.DeadFeatures(num_learned_features=1, after_tokens=(50,))
    state = metric.update(metric.init(), learned_activations=activations, axis_name="data")
    return metric.compute(state)[0]


CASES = {
    "mean of per-batch ratios": Case(
        naive=mean_of_batches,
        here=lambda: run(
            jsm.ExplainedVariance(num_input_features=1),
            {name: np.concatenate([b[name].reshape(-1, 1) for b in MERGED]) for name in MERGED[0]},
        ),
        truth=0.18,
    ),
    "mean of per-batch ratios, batch by batch": Case(
        naive=mean_of_batches,
        here=lambda: run(jsm.ExplainedVariance(num_input_features=1), *MERGED),
        truth=0.18,
    ),
    "a float32 counter is stuck at 2^24": Case(
        naive=lambda: float32_counter(2**24, 1, 1000) - 2**24,
        here=lambda: count_fired(2**24, 1, 1000) - 2**24,
        truth=1000,
    ),
    "a float32 counter loses a tenth of what is added to 2^26": Case(
        naive=lambda: float32_counter(2**26, 9, 1000) - 2**26,
        here=lambda: count_fired(2**26, 9, 1000) - 2**26,
        truth=9000,
    ),
    "an int32 total of L0 = 100 wraps after 21 million tokens": Case(
        naive=int32_l0, here=exact_l0, truth=100.0
    ),
    "masked NaN times zero": Case(
        naive=lambda: (jnp.abs(WITH_NAN) * MASK[:, None].astype(jnp.float32)).sum(),
        here=lambda: run(jsm.L1AbsoluteLoss(), {"learned_activations": WITH_NAN, "mask": MASK}),
        truth=3.0,
    ),
    "alive by signed sums that cancel": Case(
        naive=lambda: (CANCELLING.sum(0) == 0).sum(),
        here=lambda: run(jsm.NeuronActivity(1), {"learned_activations": CANCELLING}),
        truth=0,
    ),
    "an id of -1 adds to the last feature": Case(
        naive=lambda: jnp.zeros(3).at[TOP_K.indices].add(1)[2],
        here=lambda: run(jsm.NeuronFiredCount(3), {"learned_activations": TOP_K})[2],
        truth=0,
    ),
    "a state summed over devices twice": Case(
        naive=lambda: over_devices(summed_twice, TOKENS),
        here=lambda: over_devices(summed_once, TOKENS),
        truth=80,
    ),
    "local instead of global token counts": Case(
        naive=lambda: over_devices(local_age, SILENT),
        here=lambda: over_devices(global_age, SILENT),
        truth=1,
    ),
    "bfloat16 sums stick at 256": Case(
        naive=lambda: lax.fori_loop(
            0, 1000, lambda _, total: total + jnp.bfloat16(1), jnp.bfloat16(0)
        ),
        here=lambda: run(
            jsm.L1AbsoluteLoss(), {"learned_activations": jnp.ones((1, 1000), jnp.bfloat16)}
        ),
        truth=1000,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_wrong_elsewhere_and_right_here(name):
    case = CASES[name]
    assert not np.allclose(case.naive(), case.truth, rtol=1e-3)
    np.testing.assert_allclose(case.here(), case.truth, rtol=1e-6)
