"""The ways in which people run metrics, each as a function from batches to a value."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

from metric_case import PER_LEARNED_FEATURE, UNBATCHED, split

NUM_DEVICES = 8


def eager(metric, batches):
    state = metric.init()
    for batch in batches:
        state = metric.update(state, **batch)
    return metric.compute(state)


def _loop(metric, batches, step, sharding=None):
    # A state that moves to where the batches are, at the first step, costs a compilation.
    state = metric.init(sharding=sharding)
    for batch in batches:
        state = step(state, batch)
    return jax.jit(metric.compute)(state)


def jit(metric, batches, sharding=None):
    step = jax.jit(lambda state, batch: metric.update(state, **batch))
    return _loop(metric, batches, step, sharding)


def jit_donated(metric, batches):
    step = jax.jit(lambda state, batch: metric.update(state, **batch), donate_argnums=0)
    return _loop(metric, batches, step)


def scan(metric, batches, sharding=None):
    @jax.jit
    def run(state, batches):
        constants, batches = split(*batches)
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *batches)

        def step(state, batch):
            return metric.update(state, **constants, **batch), None

        return lax.scan(step, state, stacked)[0]

    return jax.jit(metric.compute)(run(metric.init(sharding=sharding), batches))


def vmap_over_models(metric, batches):
    constants, batches = split(*batches)

    def pair(batch):  # a second model, which sees the batch upside down
        return jax.tree.map(lambda leaf: jnp.stack([leaf, leaf[::-1]]), batch)

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None, 0))
    def step(state, constants, batch):
        return metric.update(state, **constants, **batch)

    state = _copies(metric.init(), 2)
    for batch in batches:
        state = step(state, constants, pair(batch))
    return _first(jax.jit(jax.vmap(metric.compute))(state))


# Both in NumPy, which does not compile.
def _copies(tree, number):
    return jax.tree.map(lambda leaf: np.stack([leaf] * number), tree)


def _first(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf)[0], tree)


def grad_and_remat_with_aux(metric, batches):
    @jax.jit
    def step(state, batch):
        mask = {name: batch[name] for name in batch.keys() & {"mask"}}
        inputs = {name: batch[name] for name in batch.keys() - {"mask"}}

        def loss(inputs):
            total = sum(jnp.sum(leaf.astype(jnp.float32)) for leaf in inputs.values())
            return total, metric.observe(**inputs, **mask)

        gradients, observation = jax.grad(jax.checkpoint(loss), has_aux=True)(inputs)
        # The metric leaves no trace in the gradient of the loss that it rides along with.
        clean = jnp.all(jnp.stack([jnp.all(leaf == 1) for leaf in gradients.values()]))
        return metric.accumulate(state, observation), clean

    def checked_step(state, batch):
        state, clean = step(state, batch)
        assert clean
        return state

    return _loop(metric, batches, checked_step)


def _per_device(batch):
    return jax.tree.map(lambda leaf: leaf.reshape(NUM_DEVICES, -1, *leaf.shape[1:]), batch)


def pmap(metric, batches):
    constants, batches = split(*batches)

    @functools.partial(jax.pmap, axis_name="data", in_axes=(0, None, 0))
    def step(state, constants, batch):
        return metric.update(state, axis_name="data", **constants, **batch)

    sharding = NamedSharding(_mesh(AxisType.Auto), P("data"))
    state = jax.device_put(_copies(metric.init(), NUM_DEVICES), sharding)
    for batch in batches:
        state = step(state, constants, _per_device(batch))
    first = _first(state)
    for device, replicated in zip(*map(jax.tree.leaves, (state, first)), strict=True):
        message = "the state must stay replicated"
        np.testing.assert_array_equal(device, np.stack([replicated] * NUM_DEVICES), message)
    return jax.jit(metric.compute)(first)


def _mesh(axis_type, shape=(NUM_DEVICES,), names=("data",)):
    return jax.make_mesh(shape, names, axis_types=(axis_type,) * len(names))


def shard_map(metric, batches, *, check_vma):
    mesh = _mesh(AxisType.Auto)
    constants, batches = split(*batches)

    @jax.jit
    @functools.partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=(P(), P(), P("data")),
        out_specs=P(),
        check_vma=check_vma,
    )
    def step(state, constants, batch):
        return metric.update(state, axis_name="data", **constants, **batch)

    sharding = NamedSharding(mesh, P())
    return _loop(metric, batches, lambda state, batch: step(state, constants, batch), sharding)


def shard_map_all_reduce(metric, batches, *, check_vma):
    constants, batches = split(*batches)

    @jax.jit
    @functools.partial(
        jax.shard_map,
        mesh=_mesh(AxisType.Auto),
        in_specs=(P(), P("data")),
        out_specs=P(),
        check_vma=check_vma,
    )
    def run(constants, batches):
        state = metric.init()
        for batch in batches:
            state = metric.update(state, **constants, **batch)
        return metric.all_reduce(state, "data")

    return jax.jit(metric.compute)(run(constants, batches))


def _place(mesh, batches):
    constants, batches = split(*batches)
    constants = jax.device_put(constants, NamedSharding(mesh, P()))
    return [constants | jax.device_put(batch, NamedSharding(mesh, P("data"))) for batch in batches]


def jit_sharded_batch(metric, batches):
    mesh = _mesh(AxisType.Auto)
    return jit(metric, _place(mesh, batches), NamedSharding(mesh, P()))


def explicit_mesh(metric, batches):
    mesh = _mesh(AxisType.Explicit)
    with jax.set_mesh(mesh):
        return jit(metric, _place(mesh, batches))


def explicit_mesh_features_sharded(metric, batches):
    mesh = _mesh(AxisType.Explicit, (2, 4), ("data", "model"))
    # A field is printed unless it has its default; so are the fields of metrics in a collection.
    has_components = "num_components=" in repr(metric)
    with jax.set_mesh(mesh):

        def place(name, given):
            axes = () if name in UNBATCHED else ("data",)
            if name in PER_LEARNED_FEATURE and isinstance(given, jax.Array):
                others = (None,) * (given.ndim - len(axes) - 1)
                axes = (*axes, *others, "model")
            return jax.device_put(given, NamedSharding(mesh, P(*axes)))

        batches = [{name: place(name, leaf) for name, leaf in b.items()} for b in batches]
        spec = P(None, "model") if has_components else P("model")
        return scan(metric, batches, NamedSharding(mesh, spec))


def explicit_mesh_manual_over_one_axis(metric, batches):
    mesh = _mesh(AxisType.Explicit, (2, 4), ("data", "model"))
    constants, batches = split(*batches)
    specs = {"in_specs": (P(), P(), P("data")), "out_specs": P()}
    with jax.set_mesh(mesh):

        @jax.jit
        @functools.partial(jax.shard_map, axis_names={"data"}, **specs)
        def step(state, constants, batch):
            return metric.update(state, axis_name="data", **constants, **batch)

        constants = jax.device_put(constants, NamedSharding(mesh, P()))
        batches = jax.device_put(batches, NamedSharding(mesh, P("data")))
        sharding = NamedSharding(mesh, P())
        return _loop(metric, batches, lambda s, batch: step(s, constants, batch), sharding)


RUNNERS = {
    "eager": eager,
    "jit": jit,
    "jit donated": jit_donated,
    "scan": scan,
    "vmap over models": vmap_over_models,
    "grad and remat with aux": grad_and_remat_with_aux,
    "pmap": pmap,
    "shard_map checked": functools.partial(shard_map, check_vma=True),
    "shard_map unchecked": functools.partial(shard_map, check_vma=False),
    "all_reduce checked": functools.partial(shard_map_all_reduce, check_vma=True),
    "all_reduce unchecked": functools.partial(shard_map_all_reduce, check_vma=False),
    "jit sharded batch": jit_sharded_batch,
    "explicit mesh": explicit_mesh,
    "explicit mesh, features sharded": explicit_mesh_features_sharded,
    "explicit mesh, manual over one axis": explicit_mesh_manual_over_one_axis,
}
# Runners that have little in common with each other; the last of them scans.
COMPILED_BY_DEFAULT = ["jit donated", "shard_map checked", "explicit mesh, features sharded"]
