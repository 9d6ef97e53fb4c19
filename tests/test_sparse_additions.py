"""Few additions to many features give the results of dense ones, at the cost of the few."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec as P

import jax_sae_metrics as jsm
from jax_sae_metrics._accumulator import Scattered
from runners import RUNNERS
from selection import all_of
from test_top_k import WITHOUT_GRADIENTS, draw

FEATURES = 64
# Indices and values; from FEATURES on, an index is out of range.
ADDITIONS = {
    "none": ([], []),
    "one": ([3], [1.5]),
    "several at one feature": ([3, 5, 3, 3], [1.0, 2.0, 4.0, -8.0]),
    "some out of range": ([0, FEATURES, 5, FEATURES + 7, FEATURES], [1.0, 9.0, 3.0, 9.0, 9.0]),
    "all out of range": ([FEATURES] * 3, [9.0] * 3),
    "of all sizes": ([7, 8, 7, 9, 9], [2.0**127, 2.0**-126, -1.0, 3.0, 2.0**-126]),
    "of two components": ([[1, 1, 2], [FEATURES, 2, 0]], [[1.0, 2.0, 3.0], [9.0, 5.0, 6.0]]),
}
additions = pytest.mark.parametrize(("indices", "values"), ADDITIONS.values(), ids=ADDITIONS)


def scattered(indices, values, is_maximum=False):
    indices = jnp.asarray(indices, jnp.int32)
    shape = (*indices.shape[:-1], FEATURES)
    components = [i.reshape(-1) for i in jnp.indices(indices.shape, jnp.int32)[: len(shape) - 1]]
    values = jnp.asarray(values, jnp.float32).reshape(-1)
    return Scattered((*components, indices.reshape(-1)), values, shape, is_maximum)


def by_hand(indices, values, function, start):
    indices, values = np.atleast_2d(indices).astype(int), np.atleast_2d(values)
    result = np.full((len(indices), FEATURES), start, float)
    for row, row_indices, row_values in zip(result, indices, values, strict=True):
        for i, value in zip(row_indices, row_values, strict=True):
            if i < FEATURES:
                row[i] = function(row[i], value)
    return result


@additions
def test_combined_additions_are_the_same_at_different_places(indices, values):
    given = scattered(indices, values)
    combined = jax.jit(lambda x: x.at_different_places())(given)
    assert combined.values.shape == given.values.shape
    np.testing.assert_array_equal(combined.dense(), given.dense())
    places = zip(*map(np.asarray, combined.at), strict=True)
    places = [place for place in places if place[-1] < FEATURES]
    assert len(set(places)) == len(places)


@additions
def test_a_total_adds_them_up(indices, values):
    given = scattered(indices, values)
    # The second addition is lost in a float32 sum.
    start = jsm.Total.zeros(given.shape).add(jnp.full(given.shape, 2.0**25, jnp.float32))
    wanted = 2.0**25 + by_hand(indices, values, np.add, 0).reshape(given.shape)
    for observation in (given, given.dense()):
        total = jax.jit(jsm.Total.add)(start, observation)
        np.testing.assert_array_equal(total.to_numpy(), wanted)


def test_what_is_not_finite_shows_in_its_own_sum():
    indices, values = np.transpose(
        [(1, np.inf), (1, 2), (2, np.nan), (3, np.inf), (3, -np.inf), (4, 3e38), (4, 3e38), (5, 7)]
    )
    given = scattered(indices, values)
    wanted = np.zeros(FEATURES, np.float32)
    wanted[1:6] = np.inf, np.nan, np.nan, np.inf, 7
    np.testing.assert_array_equal(given.dense(), wanted)
    np.testing.assert_array_equal(given.at_different_places().dense(), wanted)


@additions
def test_a_maximum_takes_the_largest(indices, values):
    given = scattered(indices, values, is_maximum=True)
    wanted = by_hand(indices, values, max, -np.inf).reshape(given.shape)
    for value in (given, given.dense()):
        record = jsm.MaximumRecord(value)
        maximum = jax.jit(jsm.Maximum.add)(jsm.Maximum.empty(given.shape), record)
        np.testing.assert_array_equal(maximum.value, wanted)
        np.testing.assert_array_equal(
            maximum.to_float(), np.where(wanted > -np.inf, wanted, np.nan)
        )
        np.testing.assert_array_equal(maximum.to_numpy(), maximum.to_float())
        later = jsm.Maximum(jnp.full(given.shape, 1.75, jnp.float32))
        for merged in (maximum.merge(later), later.merge(maximum)):
            np.testing.assert_array_equal(merged.value, np.maximum(wanted, 1.75))


@pytest.mark.parametrize("check_vma", [True, False])
@pytest.mark.parametrize("size", [3, 30], ids=["few", "many"])  # on 8 devices together
def test_over_devices(size, check_vma):
    rng = np.random.default_rng(0)
    indices = rng.integers(0, FEATURES + 5, (8, size))
    values = rng.normal(size=(8, size)).astype(np.float32)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))

    @jax.jit
    @functools.partial(
        jax.shard_map, mesh=mesh, in_specs=P("data"), out_specs=P(), check_vma=check_vma
    )
    def run(indices, values):
        total, largest = (scattered(indices[0], values[0], is_max) for is_max in (False, True))
        added = (total, jsm.MaximumRecord(largest))
        empty = (jsm.Total.zeros((FEATURES,)), jsm.Maximum.empty((FEATURES,)))
        together = [state.add(seen, "data") for state, seen in zip(empty, added, strict=True)]
        own = [state.add(seen) for state, seen in zip(empty, added, strict=True)]
        return together, [state.all_reduce("data") for state in own]

    total = by_hand(indices.ravel(), values.ravel(), np.add, 0)[0]
    largest = by_hand(indices.ravel(), values.ravel(), max, -np.inf)[0]
    for state in run(jnp.asarray(indices), jnp.asarray(values)):
        np.testing.assert_allclose(state[0].to_numpy(), total, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(state[1].value, largest.astype(np.float32))


def metrics_of(num_features, num_components):
    sizes = (num_features, num_components)
    return jsm.MetricCollection(
        {
            "statistics": jsm.ActivationStatistics(*sizes, 0.2, histogram_edges=(0.5, 1.0)),
            "dead": jsm.DeadFeatures(*sizes, after_tokens=(1, 30, 100, 200)),
            "consistency": jsm.ConsistentActivationHeuristic(*sizes),
            "l0": jsm.L0Histogram(*sizes),
            "densities": jsm.FeatureDensityStatistics(*sizes),
            "l1": jsm.L1AbsoluteLoss(num_components, decoder_weighted=True),
            "hoyer": jsm.HoyerSparsity(num_components),
        }
    )


LAYOUTS = {
    "many features of 3 masked components": (2048, 3),
    "few features": (8, None),
}


def draw_batches(num_features, num_components):
    """Draw batches of prompts, with TopK and with dense activations."""
    rng = np.random.default_rng(7)
    components = () if num_components is None else (num_components,)
    shape = (136, 2, *components)
    norms = jnp.asarray(rng.random((*components, num_features)) + 0.5, jnp.float32)
    batches = []
    for seed in range(2):
        others = {"decoder_norms": norms}
        if num_components is not None:
            others["mask"] = jnp.asarray(rng.random(shape) < 0.6)
        forms = draw(shape, num_features, seed=seed)
        batches.append([{"learned_activations": form} | others for form in forms])
    return zip(*batches, strict=True)


@functools.cache
def wanted(layout, runner):
    _, dense = draw_batches(*LAYOUTS[layout])
    return RUNNERS[runner](metrics_of(*LAYOUTS[layout]), dense)


@pytest.mark.parametrize(
    ("layout", "runner"),
    all_of(
        itertools.product(LAYOUTS, WITHOUT_GRADIENTS),
        by_default=[("few features", "shard_map checked")],
    ),
)
def test_metrics_of_few_activations_equal_those_of_dense_ones(layout, runner):
    top_k, _ = draw_batches(*LAYOUTS[layout])
    value = RUNNERS[runner](metrics_of(*LAYOUTS[layout]), top_k)
    # Devices that went side by side count their items in another order.
    dense = wanted(layout, runner if runner.startswith("all_reduce") else "jit")
    assert value.keys() == dense.keys()
    for name, values in dense.items():
        np.testing.assert_allclose(value[name], values, rtol=1e-6, atol=1e-7, err_msg=name)


def test_an_empty_batch_adds_nothing():
    metrics = metrics_of(2048, 3)
    empty = jsm.TopKActivations(jnp.zeros((0, 2, 3, 4)), jnp.zeros((0, 2, 3, 4), int), 2048)
    norms = jnp.ones((3, 2048))
    state = jax.jit(metrics.update)(metrics.init(), learned_activations=empty, decoder_norms=norms)
    for after, before in zip(*map(jax.tree.leaves, (state, metrics.init())), strict=True):
        np.testing.assert_array_equal(after, before)


MANY = 2**20
SPARSE_METRICS = {
    "ActivationStatistics": jsm.ActivationStatistics(MANY),
    "ConsistentActivationHeuristic": jsm.ConsistentActivationHeuristic(MANY),
    "DeadFeatures": jsm.DeadFeatures(MANY),
    "FeatureDensity": jsm.FeatureDensity(MANY),
    "FeatureDensityStatistics": jsm.FeatureDensityStatistics(MANY),
    "L0Histogram": jsm.L0Histogram(MANY),
    "L0Norm": jsm.L0Norm(),
    "L1AbsoluteLoss": jsm.L1AbsoluteLoss(),
    "L1AbsoluteLoss decoder_weighted": jsm.L1AbsoluteLoss(decoder_weighted=True),
}
# Operations on all features that write nothing, or only the entries that are added to.
IN_PLACE = {"parameter", "get-tuple-element", "fusion", "scatter", "dynamic-update-slice"}
# Turning back the clock of DeadFeatures is one branch of a conditional.
TURN_BACK = {"conditional": 1, "broadcast": 1, "minimum": 1, "subtract": 1}


@pytest.mark.parametrize("name", SPARSE_METRICS)
def test_an_update_touches_no_feature_that_is_not_given(name):
    """In the compiled program, no other operation has a result with an entry for every feature."""
    metric, shape = SPARSE_METRICS[name], (16, 8, 16)
    inputs = {"decoder_norms": jnp.ones(MANY)} if "weighted" in name else {}

    def update(state, values, indices, inputs):
        learned = jsm.TopKActivations(values, indices, MANY)
        return metric.update(state, learned_activations=learned, **inputs)

    step = jax.jit(update, donate_argnums=0)
    values, indices = jnp.ones(shape), jnp.zeros(shape, jnp.int32)
    compiled = step.lower(metric.init(), values, indices, inputs).compile()
    operations = re.findall(rf" = \w+\[{MANY}\]\S* ([\w-]+)\(", compiled.as_text())
    others = [operation for operation in operations if operation not in IN_PLACE]
    others = {operation: others.count(operation) for operation in others}
    allowed = TURN_BACK | {"tuple": 2} if name == "DeadFeatures" else {}
    assert others.items() <= allowed.items(), others
    memory = compiled.memory_analysis()
    state_size = sum(leaf.nbytes for leaf in jax.tree.leaves(metric.init()))
    assert memory.alias_size_in_bytes >= state_size
    assert memory.temp_size_in_bytes < MANY
