"""Histograms and moments of learned activations: edges, exactness, and errors."""

import dataclasses
import itertools
import math
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest

import jax_sae_metrics as jsm
from learned_activations import count_of, dense_form, flat_form, run, top_k_form, with_leaves
from selection import all_of

# L0Histogram


@pytest.mark.parametrize("size", all_of([1, 2, 3, 4, 7, 20, 100, 1000], by_default=[1, 7, 1000]))
def test_quantiles_are_those_of_numpy_and_exact_where_the_portion_is(size):
    quantiles = (*(i / 100 for i in range(101)), 1 / 3, 2 / 3)
    l0 = np.random.default_rng(size).integers(0, 60, size)
    activations = (np.arange(60) < l0[:, None]).astype(np.float32)
    value = run(jsm.L0Histogram(60, quantiles=quantiles), activations)
    np.testing.assert_array_equal(value["histogram"], np.bincount(l0, minlength=61))
    # Decimal portions are meant, where float64 has 0.07 * 100 > 7.
    ranks = [max(1, -(-round(q * 1e6) * size // 10**6)) for q in quantiles[:101]]
    np.testing.assert_array_equal(value["quantiles"][:101], np.sort(l0)[np.array(ranks) - 1])
    wanted = np.quantile(l0, quantiles[101:], method="inverted_cdf")
    np.testing.assert_array_equal(value["quantiles"][101:], wanted)


COUNTS = {
    "one in the last of 2^24 + 1": [2**24, 1, 0, 0],
    "5 in 100 of many": [59_918, 1_138_461, 0, 0],
    "beyond 32 bits": [2**40, 1, 2**33, 3],
    "nearly 2^64": [2**63, 2**62, 2**62 - 2, 1],
    "one vector": [0, 0, 1, 0],
}


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
def test_quantiles_are_exact_however_many_vectors_there_are(counts):
    portions = [Fraction(n, 100) for n in (0, 1, 5, 25, 50, 75, 95, 99, 100)]
    metric = jsm.L0Histogram(3, quantiles=tuple(map(float, portions)))
    none, *some = (np.uint64(n) for n in counts)

    def count(numbers):
        numbers = np.array(numbers, np.uint64)
        high, low = numbers >> np.uint64(32), numbers & np.uint64(2**32 - 1)
        return jsm.Count(high=jnp.asarray(high, jnp.uint32), low=jnp.asarray(low, jnp.uint32))

    parts = {"num_inactive": count(none), "num_with_l0": count(some)}
    empty = metric.init()
    accumulators = dataclasses.replace(empty.accumulators, **parts)
    state = dataclasses.replace(empty, accumulators=accumulators)
    ranks = [max(1, math.ceil(portion * sum(counts))) for portion in portions]
    wanted = [np.searchsorted(list(itertools.accumulate(counts)), rank) for rank in ranks]
    np.testing.assert_array_equal(metric.compute(state)["quantiles"], wanted)


def test_quantiles_of_more_vectors_than_float32_counts():
    metric = jsm.L0Histogram(3, quantiles=(0.25, 0.5, 0.9))
    state = with_leaves(metric, [count_of(2**40), count_of([2**40, 2**41 - 2**20, 2**20])])
    value = metric.compute(state)
    np.testing.assert_array_equal(value["quantiles"], [0, 1, 2])
    np.testing.assert_array_equal(state.num_with_l0.to_numpy(), [2**40, 2**41 - 2**20, 2**20])


def test_the_histogram_counts_what_l0_counts():
    activations = jnp.array([[[-1.0, 0.0], [jnp.nan, 2.0]], [[0.0, 0.0], [0.0, 1.0]]])
    value = run(jsm.L0Histogram(2, num_components=2, quantiles=(0.5, 1.0)), activations)
    np.testing.assert_array_equal(value["histogram"], [[1, 1, 0], [0, 1, 1]])
    np.testing.assert_array_equal(value["quantiles"], [[0, 1], [1, 2]])


# ActivationStatistics


@pytest.mark.parametrize("form", [dense_form, top_k_form, flat_form])
def test_a_bin_begins_at_its_edge_and_holds_active_activations_alone(form):
    below = np.nextafter(np.float32(0.1), np.float32(0))
    values = [-5.0, 0.0, 1e-9, below, 0.1, 0.99, 1.0, 5.0, np.inf]
    activations = form(jnp.asarray(values, jnp.float32)[:, None])
    edges = (0.1, 1.0)
    value = run(jsm.ActivationStatistics(1, histogram_edges=edges), activations)
    np.testing.assert_array_equal(value["histogram"], [[2, 2, 3]])
    value = run(jsm.ActivationStatistics(1, None, 0.1, edges), activations)
    np.testing.assert_array_equal(value["histogram"], [[0, 1, 3]])
    value = run(jsm.ActivationStatistics(1, histogram_edges=()), activations)
    np.testing.assert_array_equal(value["histogram"], [[7]])


def test_bins_add_up_to_the_firing_count_and_moments_agree():
    rng = np.random.default_rng(0)
    activations = np.maximum(rng.normal(size=(500, 4)), 0).astype(np.float32) * 10.0 ** np.arange(
        -2, 2, dtype=np.float32
    )
    value = run(jsm.ActivationStatistics(4), activations)
    fired = run(jsm.NeuronFiredCount(4), activations)
    density = run(jsm.FeatureDensity(4), activations)
    np.testing.assert_array_equal(value["histogram"].sum(-1), fired)
    when_active = np.array([np.mean(f[f > 0].astype(float) ** 2) for f in activations.T])
    np.testing.assert_allclose(value["second_moment"] / density, when_active, rtol=1e-6)


@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_what_is_nan_is_not_active(threshold):
    activations = jnp.array([[1.0, jnp.nan], [2.0, jnp.nan], [jnp.nan, -1.0]])
    value = run(jsm.ActivationStatistics(2, threshold=threshold), activations)
    np.testing.assert_array_equal(value["mean_when_active"], [1.5, np.nan])
    np.testing.assert_array_equal(value["max"], [2.0, np.nan])


@pytest.mark.parametrize("edges", [(1.0, 1.0), (2.0, 1.0), (0.0, 1.0), (-1.0,), (np.inf,)])
def test_edges_that_are_not_positive_and_increasing_are_refused(edges):
    with pytest.raises(ValueError, match="histogram_edges"):
        jsm.ActivationStatistics(2, histogram_edges=edges)


def test_a_mean_of_fewer_than_two_activations_has_no_standard_error():
    metric = jsm.ActivationStatistics(3)
    activations = jnp.array([[1.0, 2.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    state = metric.update(metric.init(), learned_activations=activations)
    np.testing.assert_allclose(
        metric.standard_error(state)["mean_when_active"], [1, np.nan, np.nan]
    )


# Bin edges


def test_a_histogram_comes_with_its_edges():
    """NumPy counts the same in them; of densities, 0 has a bin and 1 is in the last."""
    rng = np.random.default_rng(0)
    activations = np.exp2(rng.integers(-9, 9, (40, 4))).astype(np.float32)
    activations *= rng.random((40, 4)) < np.array([0.0, 0.3, 0.6, 1.0])
    for threshold, edges in {0.0: [0, 0.5, 4, 16, np.inf], 2.0: [2, 2, 4, 16, np.inf]}.items():
        statistics = jsm.ActivationStatistics(
            4, threshold=threshold, histogram_edges=(0.5, 4.0, 16.0)
        )
        assert statistics.bin_edges.tolist() == edges
        found = run(statistics, activations)["histogram"]
        wanted = [np.histogram(f[f > threshold], edges)[0] for f in activations.T]
        np.testing.assert_array_equal(found, wanted)
    l0 = jsm.L0Histogram(4)
    wanted, _ = np.histogram(np.count_nonzero(activations, -1), l0.bin_edges)
    np.testing.assert_array_equal(run(l0, activations)["histogram"], wanted)
    densities = jsm.FeatureDensityStatistics(4)
    wanted, _ = np.histogram((activations > 0).mean(0).astype(np.float32), densities.bin_edges)
    np.testing.assert_array_equal(run(densities, activations)["histogram"], wanted)
