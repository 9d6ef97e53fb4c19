"""What holds for every metric, whatever it measures."""

import functools
import inspect
import math
import pickle
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

import jax_sae_metrics as jsm
from metric_case import (
    PER_LEARNED_FEATURE,
    UNBATCHED,
    assert_matches,
    by_name,
    by_what_they_read,
    draw_inputs,
    expected,
    split,
)
from metric_cases import ALL_CASES, DEFAULT_CASES

COMPONENTS = 3
GROUPS = by_what_they_read(ALL_CASES)
every_metric = pytest.mark.parametrize("case", ALL_CASES, ids=lambda case: case.name)


def jax_inputs(case, size=8, seed=0):
    inputs = draw_inputs(case.inputs, case.batch_shape(size), COMPONENTS, seed)
    return {name: jnp.asarray(values) for name, values in inputs.items()}


def assert_same_type(before, after):
    """Equal trees, shapes, dtypes, weak types and shardings."""
    chex.assert_trees_all_equal_structs(before, after)
    chex.assert_trees_all_equal_shapes_and_dtypes(before, after)
    for one, other in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        assert one.weak_type == other.weak_type is False
        assert one.sharding.is_equivalent_to(other.sharding, one.ndim)


def assert_same_value(case, one, other, ordered=True):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        a, b = (np.asarray(x) if ordered else np.sort(x) for x in (a, b))
        np.testing.assert_allclose(a, b, rtol=case.rtol)


def test_every_public_metric_is_in_the_matrix():
    def types(metric):
        inner = list(getattr(metric, "metrics", {}).values())
        return {type(metric)}.union(*map(types, inner))

    tested = set().union(*(types(case.build(COMPONENTS)) for case in ALL_CASES))
    assert {type(case.build(COMPONENTS)) for case in DEFAULT_CASES} == tested
    public = {
        value
        for value in vars(jsm).values()
        if inspect.isclass(value) and issubclass(value, jsm.AbstractMetric)
    } - {jsm.AbstractMetric}
    assert public == tested


@every_metric
def test_update_keeps_the_type_of_the_state(case):
    metric = case.build(COMPONENTS)
    for update in (metric.update, jax.jit(metric.update)):
        assert_same_type(metric.init(), update(metric.init(), **jax_inputs(case)))


@every_metric
@pytest.mark.parametrize("spec", [P(), P(None, "model")], ids=["replicated", "features sharded"])
def test_update_keeps_the_sharding_of_the_state(case, spec):
    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    metric = case.build(COMPONENTS)
    state = metric.init(sharding=NamedSharding(mesh, spec))

    def place(name, leaf):
        axes = () if name in UNBATCHED else ("data",)
        if name in PER_LEARNED_FEATURE:
            others = (None,) * (leaf.ndim - len(axes) - len(spec[1:]))
            axes = (*axes, *others, *spec[1:])
        return jax.device_put(leaf, NamedSharding(mesh, P(*axes)))

    inputs = {name: place(name, leaf) for name, leaf in jax_inputs(case).items()}
    step = jax.jit(metric.update, donate_argnums=0)
    assert_same_type(metric.init(sharding=NamedSharding(mesh, spec)), step(state, **inputs))


@every_metric
def test_traces_once_over_a_hundred_steps(case):
    metric = case.build(COMPONENTS)

    @functools.partial(jax.jit, donate_argnums=1, static_argnums=0)
    @chex.assert_max_traces(n=1)
    def step(metric, state, inputs):
        return metric.update(state, **inputs)

    chex.clear_trace_counter()
    state, inputs = metric.init(), jax_inputs(case)
    for _ in range(100):
        # An equal configuration built anew is no reason to trace again.
        state = step(case.build(COMPONENTS), state, inputs)


@every_metric
def test_a_configuration_is_a_leafless_jit_argument(case):
    metric = case.build(COMPONENTS)
    assert jax.tree.leaves(metric) == []

    @jax.jit
    @chex.assert_max_traces(n=1)
    def step(metric, state, inputs):
        return metric.update(state, **inputs)

    chex.clear_trace_counter()
    state = metric.init()
    for _ in range(3):
        state = step(case.build(COMPONENTS), state, jax_inputs(case))


@every_metric
def test_a_configuration_hashes_compares_pickles_and_prints(case):
    metric, same, other = case.build(COMPONENTS), case.build(COMPONENTS), case.build(2)
    assert metric == same
    assert hash(metric) == hash(same)
    assert metric != other
    assert pickle.loads(pickle.dumps(metric)) == metric
    assert type(metric).__name__ in repr(metric)
    assert {metric: "found"}[same] == "found"


@every_metric
def test_bound_methods_are_jitted_directly(case):
    metric = case.build(COMPONENTS)
    state = jax.jit(metric.update)(jax.jit(metric.init)(), **jax_inputs(case))
    value = jax.jit(metric.compute)(state)
    assert_same_value(case, value, metric.compute(state))


@every_metric
def test_donation_works_from_the_first_step(case):
    metric = case.build(COMPONENTS)
    state = metric.init()
    pointers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(state)]
    assert len(set(pointers)) == len(pointers)
    step = jax.jit(metric.update, donate_argnums=0)
    after = step(state, **jax_inputs(case))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    step(after, **jax_inputs(case))
    metric.compute(metric.init())  # an empty state is new each time, not one that was donated


@every_metric
def test_forward_gives_the_batch_and_update_the_whole(case):
    metric = case.build(COMPONENTS)
    state = metric.update(metric.init(), **jax_inputs(case, seed=1))
    second = jax_inputs(case, seed=2)
    after, batch_value = jax.jit(metric.forward)(state, **second)
    assert_same_value(case, batch_value, metric.compute(metric.update(metric.init(), **second)))
    assert_same_value(case, metric.compute(after), metric.compute(metric.update(state, **second)))


@every_metric
def test_merge_is_associative_and_has_the_empty_state_as_neutral(case):
    metric = case.build(COMPONENTS)
    a, b, c = (metric.update(metric.init(), **jax_inputs(case, seed=seed)) for seed in range(3))
    left = metric.merge(metric.merge(a, b), c)
    right = metric.merge(a, metric.merge(b, c))
    assert_same_value(case, metric.compute(left), metric.compute(right))
    assert_same_type(left, right)
    for merged in (metric.merge(metric.init(), a), metric.merge(a, metric.init())):
        chex.assert_trees_all_equal(merged, a)


@every_metric
def test_one_device_and_eight_agree(case):
    """Exactly for counts; totals differ by the order of one batch's float32 sum."""
    metric = case.build(COMPONENTS)
    constants, (batch,) = split(jax_inputs(case, size=32))

    def sharded(num_devices):
        mesh = jax.make_mesh((num_devices,), ("data",), axis_types=(AxisType.Auto,))

        @jax.jit
        @functools.partial(jax.shard_map, mesh=mesh, in_specs=(P(), P(), P("data")), out_specs=P())
        def step(state, constants, batch):
            return metric.update(state, axis_name="data", **constants, **batch)

        return step(metric.init(), constants, batch)

    one, eight = sharded(1), sharded(8)
    for a, b in zip(accumulators(one), accumulators(eight), strict=True):
        if isinstance(a, jsm.Count | jsm.LastSeen):
            np.testing.assert_array_equal(a.to_numpy(), b.to_numpy())
        elif isinstance(a, jsm.Moments):
            # As values: what one half of a pair lacks, the other has.
            assert_same_value(case, a.to_numpy(), b.to_numpy())
        else:
            assert_same_value(case, a, b)


def accumulators(state):
    is_leaf = lambda node: isinstance(node, jsm.AbstractAccumulator)  # noqa: E731
    return jax.tree.leaves(state, is_leaf=is_leaf)


@pytest.mark.parametrize("group", GROUPS)
def test_several_mesh_axes_reduce_together(group):
    cases = {case.name: case for case in GROUPS[group]}
    metric = jsm.MetricCollection({name: case.build(COMPONENTS) for name, case in cases.items()})
    names = sorted({name for case in cases.values() for name in case.inputs})
    inputs = jax.tree.map(jnp.asarray, draw_inputs(names, (8, 2), COMPONENTS))
    constants, (batch,) = split(inputs)
    mesh = jax.make_mesh((2, 4), ("host", "chip"), axis_types=(AxisType.Auto,) * 2)
    axes = ("host", "chip")

    @jax.jit
    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(P(), P(), P(axes)), out_specs=P())
    def step(state, constants, batch):
        replicated = metric.update(state, axis_name=axes, **constants, **batch)
        own = metric.update(metric.init(), **constants, **batch)
        return replicated, metric.all_reduce(own, axes)

    update, compute = jax.jit(metric.update), jax.jit(metric.compute)
    wanted = compute(update(metric.init(), **inputs))
    replicated, reduced = map(compute, step(metric.init(), constants, batch))
    for name, want in wanted.items():
        case = cases[name.partition("/")[0]]
        assert_same_value(case, replicated[name], want, case.ordered)
        if not case.per_batch and "all_reduce" not in case.skips:
            assert_same_value(case, reduced[name], want, case.ordered)


@every_metric
def test_observations_are_plain_arrays_that_sum_over_micro_batches(case):
    metric = case.build(COMPONENTS)
    if not all(isinstance(a, jsm.Count | jsm.Total) for a in accumulators(metric.init())):
        pytest.skip("not all of its accumulators are sums")
    batches = [jax_inputs(case, seed=seed) for seed in range(4)]
    observations = [metric.observe(**batch) for batch in batches]
    leaves = jax.tree.leaves(observations)
    assert {str(leaf.dtype) for leaf in leaves} <= {"int32", "float32"}
    summed = jax.tree.map(lambda *parts: functools.reduce(jnp.add, parts), *observations)
    together = metric.accumulate(metric.init(), summed)
    one_by_one = functools.reduce(lambda s, b: metric.update(s, **b), batches, metric.init())
    assert_same_value(case, metric.compute(together), metric.compute(one_by_one))


@pytest.mark.parametrize(
    "case", [case for case in ALL_CASES if not case.per_batch], ids=lambda case: case.name
)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_any_split_and_mask_give_the_same_as_the_whole(case, data):
    """Batches of unequal size, down to a single vector, under a mask drawn at random."""
    size = data.draw(st.integers(2, 12))
    cuts = sorted(data.draw(st.sets(st.integers(1, size - 1), max_size=3)))
    shape = case.batch_shape(size)
    bits = st.lists(st.booleans(), min_size=math.prod(shape), max_size=math.prod(shape))
    whole = draw_inputs(case.inputs, shape, COMPONENTS, seed=size)
    whole["mask"] = np.array(data.draw(bits)).reshape(shape)
    constants, (batch,) = split(whole)
    metric = case.build(COMPONENTS)
    state = metric.init()
    for part in np.split(np.arange(size), cuts):
        cut = {name: jnp.asarray(values[part]) for name, values in batch.items()}
        state = metric.update(state, **constants, **cut)
    assert_matches(case, metric.compute(state), expected(case, [whole], COMPONENTS))


@every_metric
def test_nothing_seen_is_nan_for_ratios_and_zero_for_counts(case):
    metric = case.build(COMPONENTS)
    for name, value in by_name(metric.compute(metric.init())).items():
        np.testing.assert_array_equal(value, np.full(value.shape, case.value_of_nothing(name)))


@every_metric
def test_an_explicit_mesh_needs_no_context(case):
    """`jax.make_mesh` makes explicit meshes; arrays placed on one carry it with them."""
    metric = case.build(COMPONENTS)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,))
    inputs = jax_inputs(case)
    constants, (batch,) = split(inputs)
    placed = jax.device_put(batch, NamedSharding(mesh, P("data")))
    placed |= jax.device_put(constants, NamedSharding(mesh, P()))
    update = jax.jit(metric.update)
    wanted = metric.compute(update(metric.init(), **inputs))
    value = jax.jit(metric.compute)(update(metric.init(), **placed))
    assert_same_value(case, value, wanted)


def test_a_collection_computes_once_what_its_metrics_share():
    """Counted in the compiled program: three metrics of firing reduce as often as one."""
    metrics = {
        "density": jsm.FeatureDensity(512),
        "fired": jsm.NeuronFiredCount(512),
        "dead": jsm.NeuronActivity(512),
    }

    def num_reductions(*names):
        collection = jsm.MetricCollection({name: metrics[name] for name in names})
        lowered = jax.jit(collection.update).lower(
            collection.init(), learned_activations=jnp.ones((1024, 512))
        )
        return len(re.findall(r"\breduce(?:-window)?\(", lowered.compile().as_text()))

    assert num_reductions(*metrics) == num_reductions("density") > 0


def test_a_feature_that_always_fires_has_density_one():
    """XLA would divide by multiplying with a reciprocal: 41 / 41 = 0.99999994."""
    metric = jsm.FeatureDensity(8)
    one = metric.observe(learned_activations=jnp.ones((1, 8)))
    compute = jax.jit(metric.compute)
    for n in range(1, 200):
        seen = jax.tree.map(lambda leaf, n=n: leaf * n, one)
        state = metric.accumulate(metric.init(), seen)
        np.testing.assert_array_equal(compute(state), np.ones(8))
        np.testing.assert_array_equal(metric.compute(state), np.ones(8))


def test_a_scan_inside_shard_map_with_a_state_per_device():
    """The carry must be marked as varying before it meets what varies."""
    metric = jsm.L0Norm()
    acts = jnp.ones((5, 16, 4))
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))

    @jax.jit
    @functools.partial(jax.shard_map, mesh=mesh, in_specs=P(None, "data"), out_specs=P())
    def run(acts):
        empty = jax.tree.map(lambda x: lax.pcast(x, "data", to="varying"), metric.init())
        step = lambda state, a: (metric.update(state, learned_activations=a), None)  # noqa: E731
        return metric.all_reduce(lax.scan(step, empty, acts)[0], "data")

    assert float(metric.compute(run(acts))) == 4.0


@every_metric
def test_an_empty_batch_adds_nothing(case):
    metric = case.build(COMPONENTS)
    constants, (batch,) = split(jax_inputs(case))
    nothing = constants | {name: values[:0] for name, values in batch.items()}
    state = jax.jit(lambda state: metric.update(state, **nothing))(metric.init())
    assert_same_value(case, metric.compute(state), metric.compute(metric.init()))
