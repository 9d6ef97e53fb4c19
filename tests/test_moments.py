"""Moments are right where float32 sums of squares are not, however the items are cut up."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, PartitionSpec as P

import jax_sae_metrics as jsm

FEATURES = 3
MEANS = np.array([0.0, 1000.0, -1e4])


def draw(num_items, seed=0):
    """Draw with standard deviation 1 about means that are up to ten thousand times as large."""
    return (MEANS + np.random.default_rng(seed).normal(size=(num_items, FEATURES))).astype(
        np.float32
    )


def record(items):
    items = jnp.asarray(items)
    centre = items[0] if len(items) else jnp.zeros(FEATURES)
    deviations = items - centre[None]
    return jsm.MomentsRecord(
        count=jnp.asarray(len(items), jnp.int32),
        centre=centre,
        deviations=deviations.sum(0),
        squared_deviations=(deviations**2).sum(0),
    )


def assert_right(moments, items):
    exact = np.asarray(items, np.float64)
    mean, variance = moments.to_numpy()
    # Within a millionth of a standard deviation, which is 1.
    np.testing.assert_allclose(mean, exact.mean(0), rtol=0, atol=1e-6)
    np.testing.assert_allclose(variance, exact.var(0), rtol=2e-6)
    np.testing.assert_allclose(moments.variance(), exact.var(0), rtol=2e-6)
    assert int(moments.count.to_numpy()) == len(items)


def naive_variance(items):
    total, squares = np.float32(0), np.float32(0)
    for part in np.split(items, len(items) // 64):
        total, squares = total + part.sum(0), squares + (part**2).sum(0)
    return squares / len(items) - (total / len(items)) ** 2


def test_many_batches():
    items = draw(2000 * 64)

    @jax.jit
    def run(batches):
        def step(moments, batch):
            return moments.add(record(batch)), None

        return lax.scan(step, jsm.Moments.zeros((FEATURES,)), batches)[0]

    assert_right(run(items.reshape(2000, 64, FEATURES)), items)
    # What it replaces: the difference of two large sums.
    naive = naive_variance(items)[1:]
    assert np.all(abs(naive - items[:, 1:].var(0, dtype=np.float64)) > 0.05)


SPLITS = {
    "nothing first": (0, 10),
    "nothing last": (10, 10),
    "one by one": tuple(range(1, 10)),
    "uneven": (1, 2, 90),
}


@pytest.mark.parametrize("split", SPLITS)
def test_merged_in_any_order(split):
    items = draw(100)
    parts = [
        jsm.Moments.zeros((FEATURES,)).add(record(part)) for part in np.split(items, SPLITS[split])
    ]
    for order in (parts, parts[::-1]):
        assert_right(functools.reduce(lambda a, b: a.merge(b), order), items)
        assert_right(functools.reduce(lambda a, b: b.merge(a), order), items)


@pytest.mark.parametrize("check_vma", [True, False])
def test_over_devices(check_vma):
    items = draw(8 * 32)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))

    @jax.jit
    @functools.partial(
        jax.shard_map, mesh=mesh, in_specs=P("data"), out_specs=P(), check_vma=check_vma
    )
    def run(items):
        empty = jsm.Moments.zeros((FEATURES,))
        return empty.add(record(items), "data"), empty.add(record(items)).all_reduce("data")

    for moments in run(items):
        assert_right(moments, items)


def test_a_nan_shows_in_its_feature_alone():
    items = draw(10)
    items[3, 1] = np.nan
    variance = jsm.Moments.zeros((FEATURES,)).add(record(items)).variance()
    np.testing.assert_array_equal(np.isnan(variance), [False, True, False])


def test_a_plain_array_is_refused():
    with pytest.raises(ValueError, match="expects a MomentsRecord, got"):
        jsm.Moments.zeros((FEATURES,)).add(jnp.zeros(FEATURES))
