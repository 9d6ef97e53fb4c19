"""What holds for every metric on many devices, however a batch is spread over them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

import jax_sae_metrics as jsm
from metric_case import PER_LEARNED_FEATURE, UNBATCHED, draw_inputs, split
from metric_cases import DEFAULT_CASES
from subjects import (
    COMPONENTS,
    OF_EACH_STATE,
    accumulators,
    assert_same,
    assert_same_type,
    few_and_all_together,
)


def test_the_few_have_a_state_of_each_kind():
    def kinds(cases):
        return {type(a) for case in cases for a in accumulators(case.build(COMPONENTS).init())}

    few = [case for case in DEFAULT_CASES if case.name in OF_EACH_STATE]
    assert kinds(few) == kinds(DEFAULT_CASES)
    assert len(few) == len(OF_EACH_STATE)


@few_and_all_together
@pytest.mark.parametrize("spec", [P(), P(None, "model")], ids=["replicated", "features sharded"])
def test_update_keeps_the_sharding_of_the_state(subject, spec):
    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    metric = subject.build()
    state = metric.init(sharding=NamedSharding(mesh, spec))

    def place(name, leaf):
        axes = () if name in UNBATCHED else ("data",)
        if name in PER_LEARNED_FEATURE:
            others = (None,) * (leaf.ndim - len(axes) - len(spec[1:]))
            axes = (*axes, *others, *spec[1:])
        return jax.device_put(leaf, NamedSharding(mesh, P(*axes)))

    inputs = {name: place(name, leaf) for name, leaf in subject.inputs().items()}
    step = jax.jit(metric.update, donate_argnums=0)
    assert_same_type(metric.init(sharding=NamedSharding(mesh, spec)), step(state, **inputs))


@few_and_all_together
def test_one_device_and_eight_agree(subject):
    """Counts agree exactly; totals differ by the order of one batch's float32 sum."""
    metric = subject.build()
    constants, (batch,) = split(subject.inputs(size=32))

    def sharded(num_devices):
        mesh = jax.make_mesh((num_devices,), ("data",), axis_types=(AxisType.Auto,))

        @jax.jit
        @functools.partial(jax.shard_map, mesh=mesh, in_specs=(P(), P(), P("data")), out_specs=P())
        def step(state, constants, batch):
            return metric.update(state, axis_name="data", **constants, **batch)

        return step(metric.init(), constants, batch)

    one, eight = subject.states(sharded(1)), subject.states(sharded(8))
    for (case, of_one), (_, of_eight) in zip(one, eight, strict=True):
        for a, b in zip(accumulators(of_one), accumulators(of_eight), strict=True):
            if isinstance(a, jsm.Count | jsm.LastSeen):
                np.testing.assert_array_equal(a.to_numpy(), b.to_numpy(), err_msg=case.name)
            elif isinstance(a, jsm.Moments | jsm.RatioOfSums):
                # Compared as values: what one half of a pair lacks, the other has.
                assert_same(case, a.to_numpy(), b.to_numpy())
            else:
                assert_same(case, a, b)


@pytest.mark.exhaustive
@few_and_all_together
def test_several_mesh_axes_reduce_together(subject):
    metric = subject.build()
    inputs = jax.tree.map(jnp.asarray, draw_inputs(subject.names(), (8, 2), COMPONENTS))
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
    of_each = zip(*map(subject.values, (wanted, replicated, reduced)), strict=True)
    for (case, want), (_, of_replicated), (_, of_reduced) in of_each:
        assert_same(case, of_replicated, want, case.ordered)
        if not case.of_batches and "all_reduce" not in case.skips:
            assert_same(case, of_reduced, want, case.ordered)


@few_and_all_together
def test_an_explicit_mesh_needs_no_context(subject):
    """`jax.make_mesh` makes explicit meshes; arrays placed on one carry it with them."""
    metric = subject.build()
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,))
    inputs = subject.inputs()
    constants, (batch,) = split(inputs)
    placed = jax.device_put(batch, NamedSharding(mesh, P("data")))
    placed |= jax.device_put(constants, NamedSharding(mesh, P()))
    update = jax.jit(metric.update)
    wanted = metric.compute(update(metric.init(), **inputs))
    value = jax.jit(metric.compute)(update(metric.init(), **placed))
    subject.assert_same_value(value, wanted)


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
