"""Exactness of counts and totals, in time and over devices, with x64 and without."""

import fractions
import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from jax import lax
from jax.sharding import AxisType, PartitionSpec as P

import jax_sae_metrics as jsm
from selection import all_of

NUM_DEVICES = 8
LARGEST = 2**31 - 1
MODES = {"without x64": False, "x64": True}


@pytest.fixture(params=MODES)
def x64(request):
    with jax.enable_x64(MODES[request.param]):
        yield MODES[request.param]


def over_devices(function, **kwargs):
    """Run `function` on 8 devices, each with its part of the arguments' leading axis."""
    mesh = jax.make_mesh((NUM_DEVICES,), ("data",), axis_types=(AxisType.Auto,))
    specs = {"in_specs": P("data"), "out_specs": P()} | kwargs
    return jax.jit(jax.shard_map(function, mesh=mesh, **specs))


def feed_on_each_device(accumulator, observation, times):
    """As `feed`, but in shard_map, where the carry must be marked as varying like the additions."""
    varying = jax.tree.map(lambda x: lax.pcast(x, "data", to="varying"), accumulator)
    return feed(varying, observation, times)


def feed(accumulator, observation, times):
    """Add the same observation many times, in a compiled loop."""
    return lax.fori_loop(0, times, lambda _, held: held.add(observation), accumulator)


def test_count_fed_the_largest_int32_a_thousand_times(x64):
    count = jax.jit(feed, static_argnums=2)(jsm.Count.zeros(()), jnp.int32(LARGEST), 1000)
    assert int(count.to_numpy()) == 1000 * LARGEST
    assert int(count.to_int()) == (1000 * LARGEST if x64 else LARGEST)
    # What it replaces: an int32 carry is long wrong.
    with np.errstate(over="ignore"):
        assert int(np.full(1000, LARGEST, np.int32).sum(dtype=np.int32)) != 1000 * LARGEST


def test_count_fed_in_a_scan_and_merged():
    observations = jnp.full((1000, 3), LARGEST, jnp.int32)
    run = jax.jit(lambda xs: lax.scan(lambda c, x: (c.add(x), None), jsm.Count.zeros((3,)), xs)[0])
    count = run(observations)
    merged = count.merge(count).merge(count)
    np.testing.assert_array_equal(merged.to_numpy(), np.full(3, 3000 * LARGEST, np.uint64))


def test_count_over_devices_is_exact(x64):
    def run(observation):
        (observation,) = observation
        reduced_states = feed_on_each_device(jsm.Count.zeros(()), observation, 1000).all_reduce(
            "data"
        )
        reduced_observations = jsm.Count.zeros(()).add(observation, "data")
        return reduced_states, reduced_observations

    observations = jnp.arange(LARGEST - 7, LARGEST + 1, dtype=jnp.int32)
    states, one_batch = over_devices(run)(observations)
    total = int(np.sum(np.asarray(observations, np.int64)))
    assert int(states.to_numpy()) == 1000 * total
    assert int(one_batch.to_numpy()) == total
    # What it replaces: a psum of int32 wraps.
    wrapped = over_devices(lambda x: lax.psum(x[0], "data"))(observations)
    assert int(wrapped) != total


def test_count_holds_64_bits_and_saturates_as_an_integer(x64):
    count = jsm.Count(high=jnp.uint32(2**32 - 1), low=jnp.uint32(2**32 - 1))
    assert int(count.to_numpy()) == 2**64 - 1
    assert int(count.to_int()) == (2**63 - 1 if x64 else LARGEST)
    np.testing.assert_allclose(count.to_float(), 2.0**64)
    below = jsm.Count(high=jnp.uint32(0), low=jnp.uint32(2**31 - 1))
    assert int(below.to_int()) == LARGEST
    assert int(below.add(jnp.int32(1)).to_int()) == (2**31 if x64 else LARGEST)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, LARGEST), max_size=8), st.lists(st.integers(0, 2**61), max_size=4))
def test_count_equals_python_integers(observations, merged):
    count = jsm.Count.zeros(())
    for observation in observations:
        count = count.add(jnp.int32(observation))
    for value in merged:
        count = count.merge(jsm.Count(jnp.uint32(value >> 32), jnp.uint32(value & 0xFFFFFFFF)))
    total = sum(observations) + sum(merged)
    assert int(count.to_numpy()) == total
    np.testing.assert_allclose(float(count.to_float()), total, rtol=2e-7)


TENTH = float(np.float32(0.1))


def test_total_of_thirty_million_tenths():
    """The bar is 1e-7 relative; plain float32 misses it by six orders of magnitude."""
    times = 30_000_000

    @jax.jit
    def run():
        def step(_, carry):
            total, plain = carry
            return total.add(jnp.float32(0.1)), plain + jnp.float32(0.1)

        return lax.fori_loop(0, times, step, (jsm.Total.zeros(()), jnp.float32(0)))

    total, plain = run()
    assert abs(float(total.to_numpy()) / (times * TENTH) - 1) < 1e-8
    assert abs(float(total.to_float()) / (times * TENTH) - 1) < 1e-7
    assert abs(float(plain) / (times * TENTH) - 1) > 0.1


def test_total_survives_fast_math():
    """It runs in a separate process, since XLA reads its flags once."""
    program = """if True:
        import jax, jax.numpy as jnp, jax_sae_metrics as jsm
        from jax import lax
        add = lambda _, c: (c[0].add(jnp.float32(0.1)), c[1] + jnp.float32(0.1))
        run = jax.jit(lambda n: lax.fori_loop(0, n, add, (jsm.Total.zeros(()), jnp.float32(0))))
        total, plain = run(3_000_000)
        print(float(total.to_numpy()), float(plain))
    """
    flags = {"XLA_FLAGS": "--xla_cpu_enable_fast_math=true", "JAX_PLATFORMS": "cpu"}
    printed = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | flags,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    total, plain = map(float, printed.split())
    assert abs(total / (3_000_000 * TENTH) - 1) < 1e-8
    assert abs(plain / (3_000_000 * TENTH) - 1) > 1e-3


def test_total_over_devices_keeps_what_each_device_compensated():
    def run(observation):
        (observation,) = observation
        total = feed_on_each_device(jsm.Total.zeros(()), observation, 100_000)
        return total.all_reduce("data"), jsm.Total.zeros(()).add(observation, "data")

    observations = jnp.asarray([0.1, 1e-4, 7.0, 1e4, 0.3, 1e-6, 123.4, 1.0], jnp.float32)
    states, one_batch = over_devices(run)(observations)
    total = float(np.sum(np.asarray(observations, np.float64)))
    assert abs(float(states.to_numpy()) / (100_000 * total) - 1) < 1e-10
    assert abs(float(one_batch.to_numpy()) / total - 1) < 2e-7


@pytest.mark.parametrize("num_devices", all_of(range(1, NUM_DEVICES + 1), by_default=[3, 8]))
def test_total_over_any_number_of_devices(num_devices):
    values = np.random.default_rng(0).normal(size=num_devices).astype(np.float32)
    reduced = jax.vmap(lambda x: jsm.Total.zeros(()).add(x).all_reduce("data"), axis_name="data")(
        jnp.asarray(values)
    )
    for device in range(num_devices):
        total = jax.tree.map(lambda halves, device=device: halves[device], reduced).to_numpy()
        np.testing.assert_allclose(total, values.astype(float).sum())


def total_of(values):
    return functools.reduce(lambda t, v: t.add(jnp.float32(v)), values, jsm.Total.zeros(()))


def error_of_total(values):
    """How far the total is from the exact sum."""
    exact = sum(map(fractions.Fraction, values))
    return abs(fractions.Fraction(float(total_of(values).to_numpy())) - exact)


# Of larger numbers, what rounding loses is a normal number, or 0.
far_from_denormals = st.floats(2.0**-60, 2.0**100, width=32)
numbers = st.one_of(st.just(0.0), far_from_denormals, far_from_denormals.map(lambda v: -v))


@settings(max_examples=50, deadline=None)
@given(st.lists(numbers, min_size=1, max_size=20))
def test_total_is_the_exact_sum_to_44_bits(values):
    magnitude = sum(abs(fractions.Fraction(v)) for v in values)
    assert error_of_total(values) <= magnitude / 2**44


SMALLEST_NORMAL = 2.0**-126


@pytest.mark.parametrize(
    "values",
    [
        (1e-39, 2e-39),
        (1.0, 1e-39, -1.0),
        (SMALLEST_NORMAL * (1 + 2.0**-23), -SMALLEST_NORMAL),
        (2.0**-120, *(2.0**-146,) * 7),
        (2.0**-120, *(2.0**-125 * (1 + 2.0**-23),) * 7),
    ],
)
def test_each_addition_to_a_total_may_lose_less_than_the_smallest_normal(values):
    """Denormals count or are lost, as the platform has it: XLA:CPU takes them for zero."""
    assert error_of_total(values) < len(values) * fractions.Fraction(SMALLEST_NORMAL)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((1.0, np.inf), np.inf),
        ((1.0, -np.inf, 5.0), -np.inf),
        ((np.inf, -np.inf), np.nan),
        ((1.0, np.nan), np.nan),
        ((3e38, 3e38), np.inf),
    ],
)
def test_total_of_what_is_not_finite(values, expected):
    total = total_of(values)
    np.testing.assert_array_equal(total.to_float(), np.float32(expected))
    np.testing.assert_array_equal(total.to_numpy(), expected)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(*[st.floats(-8, 8, width=32)] * 5), min_size=1, max_size=8),
    st.booleans(),
)
def test_what_saw_no_units_does_not_move_a_ratio_of_sums_by_a_bit(records, first):
    empty = jsm.RatioOfSums.zeros(())
    seen = empty
    for reference, *sums, of_residuals in records:
        record = jsm.RatioOfSumsRecord(
            num_units=jnp.int32(4),
            reference=jnp.float32(reference),
            sums=jnp.array(sums, jnp.float32),
            products=jnp.array([of_residuals**2, sums[2], 1 + sums[1] ** 2], jnp.float32),
        )
        seen = seen.add(record)
    merged = empty.merge(seen) if first else seen.merge(empty)
    jax.tree.map(np.testing.assert_array_equal, merged, seen)


def test_vector_buffer_keeps_order_drops_the_masked_and_what_does_not_fit():
    def rows(first, valid):
        values = jnp.arange(first, first + len(valid), dtype=jnp.float32)[None]
        return jsm.VectorRecord(values=values, valid=jnp.asarray(valid))

    buffer = jsm.VectorBuffer.zeros((1,), capacity=4)
    buffer = buffer.add(rows(1, [True, False, True]))
    np.testing.assert_array_equal(buffer.values, [[1, 3, 0, 0]])
    later = jsm.VectorBuffer.zeros((1,), capacity=4).add(rows(10, [False, True, True, True]))
    merged = buffer.merge(later)
    np.testing.assert_array_equal(merged.values, [[1, 3, 11, 12]])
    assert int(merged.num_filled) == 4


def test_vector_buffer_over_devices_in_the_order_of_the_devices():
    def run(vectors):
        rows = jsm.VectorRecord(values=vectors.T, valid=vectors[:, 0] > 2)
        empty = jsm.VectorBuffer.zeros((1,), capacity=NUM_DEVICES)
        return empty.add(rows, "data"), empty.add(rows).all_reduce("data")

    vectors = jnp.arange(NUM_DEVICES, dtype=jnp.float32)[:, None]
    for buffer in over_devices(run)(vectors):
        np.testing.assert_array_equal(buffer.values, [[3, 4, 5, 6, 7, 0, 0, 0]])
