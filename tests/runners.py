"""The ways in which people run metrics, each as a function from batches to a value."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

NUM_DEVICES = 8


def eager(metric, batches):
    state = metric.init()
    for batch in batches:
        state = metric.update(state, **batch)
    return metric.compute(state)


def _loop(metric, batches, step):
    state = metric.init()
    for batch in batches:
        state = step(state, batch)
    return metric.compute(state)


def jit(metric, batches):
    return _loop(metric, batches, jax.jit(lambda state, batch: metric.update(state, **batch)))


def jit_donated(metric, batches):
    step = jax.jit(lambda state, batch: metric.update(state, **batch), donate_argnums=0)
    return _loop(metric, batches, step)


def scan(metric, batches):
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *batches)

    @jax.jit
    def run(stacked):
        def step(state, batch):
            return metric.update(state, **batch), None

        return lax.scan(step, metric.init(), stacked)[0]

    return metric.compute(run(stacked))


def vmap_over_models(metric, batches):
    def pair(batch):  # a second model, which sees the batch upside down
        return jax.tree.map(lambda leaf: jnp.stack([leaf, leaf[::-1]]), batch)

    @jax.jit
    @jax.vmap
    def step(state, batch):
        return metric.update(state, **batch)

    state = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), metric.init())
    for batch in batches:
        state = step(state, pair(batch))
    values = jax.vmap(metric.compute)(state)
    return jax.tree.map(lambda leaf: leaf[0], values)


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

    state = metric.init()
    for batch in batches:
        state, clean = step(state, batch)
        assert clean
    return metric.compute(state)


def _per_device(batch):
    return jax.tree.map(lambda leaf: leaf.reshape(NUM_DEVICES, -1, *leaf.shape[1:]), batch)


def pmap(metric, batches):
    @functools.partial(jax.pmap, axis_name="data")
    def step(state, batch):
        return metric.update(state, axis_name="data", **batch)

    state = jax.tree.map(lambda leaf: jnp.stack([leaf] * NUM_DEVICES), metric.init())
    for batch in batches:
        state = step(state, _per_device(batch))
    first, *others = (jax.tree.map(lambda leaf, d=d: leaf[d], state) for d in range(NUM_DEVICES))
    for other in others:
        same = jax.tree.map(lambda a, b: bool(jnp.all(a == b)), first, other)
        assert all(jax.tree.leaves(same)), "the state must stay replicated"
    return metric.compute(first)


def _mesh(axis_type, shape=(NUM_DEVICES,), names=("data",)):
    return jax.make_mesh(shape, names, axis_types=(axis_type,) * len(names))


def shard_map(metric, batches, *, check_vma):
    mesh = _mesh(AxisType.Auto)

    @jax.jit
    @functools.partial(
        jax.shard_map, mesh=mesh, in_specs=(P(), P("data")), out_specs=P(), check_vma=check_vma
    )
    def step(state, batch):
        return metric.update(state, axis_name="data", **batch)

    return _loop(metric, batches, step)


def shard_map_all_reduce(metric, batches, *, check_vma):
    mesh = _mesh(AxisType.Auto)

    @jax.jit
    @functools.partial(
        jax.shard_map, mesh=mesh, in_specs=P("data"), out_specs=P(), check_vma=check_vma
    )
    def run(batches):
        state = metric.init()
        for batch in batches:
            state = metric.update(state, **batch)
        return metric.all_reduce(state, "data")

    return metric.compute(run(batches))


def jit_sharded_batch(metric, batches):
    sharding = NamedSharding(_mesh(AxisType.Auto), P("data"))
    return jit(metric, [jax.device_put(batch, sharding) for batch in batches])


def explicit_mesh(metric, batches):
    mesh = _mesh(AxisType.Explicit)
    with jax.set_mesh(mesh):
        return jit(
            metric, [jax.device_put(batch, NamedSharding(mesh, P("data"))) for batch in batches]
        )


def explicit_mesh_features_sharded(metric, batches):
    mesh = _mesh(AxisType.Explicit, (2, 4), ("data", "model"))
    has_components = any(leaf.shape[:1] in ((1,), (3,)) for leaf in jax.tree.leaves(metric.init()))
    with jax.set_mesh(mesh):

        def place(name, given):
            if name == "learned_activations" and isinstance(given, jax.Array):
                features = (None,) * (given.ndim - 2)
                return jax.device_put(given, NamedSharding(mesh, P("data", *features, "model")))
            return jax.device_put(given, NamedSharding(mesh, P("data")))

        batches = [{name: place(name, leaf) for name, leaf in b.items()} for b in batches]
        spec = P(None, "model") if has_components else P("model")
        empty = metric.init(sharding=NamedSharding(mesh, spec))

        @jax.jit
        def run(state, batches):
            stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *batches)

            def step(state, batch):
                return metric.update(state, **batch), None

            return lax.scan(step, state, stacked)[0]

        return jax.jit(metric.compute)(run(empty, batches))


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
}
