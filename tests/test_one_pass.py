"""What the compiled metrics cost: reads of the activations, memory, exchanges between devices.

Nothing here is timed. Accelerators are compiled for, not run on.
"""

import collections
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, PartitionSpec as P

import jax_sae_metrics as jsm
from compiled import (
    B200,
    H100,
    TPU_7X,
    TPU_V5E,
    TPU_V6E,
    Compiled,
    NotInstalledError,
    Target,
    compile_for,
)
from selection import all_of

pytestmark = pytest.mark.usefixtures("compiled_anew")

# No two buffers of the step have the same number of elements.
BATCH, FEATURES, INPUTS = 1024, 4096, 512
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
# Other dtypes than float32 are converted, and XLA may write out the converted array.
narrow_dtype = pytest.mark.parametrize(
    "dtype", all_of(DTYPES.values(), by_default=[jnp.bfloat16]), ids=DTYPES
)
every_dtype = pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)


READY_MADE = {
    "training": jsm.training_metrics(FEATURES, INPUTS),
    "evaluation": jsm.evaluation_metrics(FEATURES, INPUTS),
}
every_ready_made = pytest.mark.parametrize("metrics", READY_MADE.values(), ids=READY_MADE)


def sums_alone():
    """Metrics that need no centre. (Devices find centres together, before all else.)"""
    return jsm.MetricCollection(
        {
            "density": jsm.FeatureDensity(FEATURES),
            "fired": jsm.NeuronFiredCount(FEATURES),
            "dead": jsm.NeuronActivity(FEATURES),
            "l0": jsm.L0Norm(),
            "l1": jsm.L1AbsoluteLoss(),
            "l2": jsm.L2ReconstructionLoss(),
            "loss": jsm.SparseAutoencoderLoss(l1_coefficient=1e-3),
        }
    )


def activations(batch, dtype):
    sizes = {"source": INPUTS, "learned": FEATURES, "decoded": INPUTS}
    return {
        f"{name}_activations": jax.ShapeDtypeStruct((batch, size), dtype)
        for name, size in sizes.items()
    }


def update(metrics, state, inputs, axis_name=None):
    return metrics.update(state, axis_name=axis_name, **inputs)


def train_step(metrics, params, state, source):
    """One step of gradient descent on a sparse autoencoder, and its metrics if there are any."""

    def loss(params):
        learned = jax.nn.relu(source @ params["encoder"] + params["bias"])
        inputs = {
            "source_activations": source,
            "learned_activations": learned,
            "decoded_activations": learned @ params["decoder"],
        }
        losses = jsm.sparse_autoencoder_loss(**inputs, l1_coefficient=1e-3)
        return losses.mean(), metrics.observe(**inputs) if metrics else None

    gradients, observation = jax.grad(loss, has_aux=True)(params)
    params = jax.tree.map(lambda p, g: p - jnp.asarray(0.1, p.dtype) * g, params, gradients)
    return params, metrics.accumulate(state, observation) if metrics else state


def step_arguments(metrics, batch, dtype):
    shapes = {"encoder": (INPUTS, FEATURES), "bias": (1, FEATURES), "decoder": (FEATURES, INPUTS)}
    params = {name: jax.ShapeDtypeStruct(shape, dtype) for name, shape in shapes.items()}
    state = jax.eval_shape(metrics.init)
    return params, state, activations(batch, dtype)["source_activations"]


@narrow_dtype
@pytest.mark.parametrize("metrics", [*READY_MADE, "sums alone"])
def test_a_train_step_on_cpu_holds_no_more_for_its_metrics_than_a_quarter_byte_each(metrics, dtype):
    metrics = READY_MADE.get(metrics) or sums_alone()
    # What a loop over both source and decoded activations reads is held until it has run.
    held = BATCH * INPUTS * 4 if metrics in READY_MADE.values() else 0
    arguments = step_arguments(metrics, BATCH, dtype)
    with_metrics, without = (
        Compiled.of(
            jax.jit(functools.partial(train_step, given), donate_argnums=(0, 1))
            .lower(*arguments)
            .compile()
        )
        for given in (metrics, None)
    )
    added = with_metrics.temporary_bytes - without.temporary_bytes
    assert added <= BATCH * FEATURES / 4 + held
    written = {array.dtype for array in with_metrics.written(BATCH * FEATURES)}
    assert written  # the activations themselves: the check looks at the right buffers
    assert written <= {"f32", "bf16", "pred"}


ALONE = {
    ("learned_activations",): [
        jsm.L0Norm(),
        jsm.L1AbsoluteLoss(),
        jsm.FeatureDensity(FEATURES),
        jsm.FeatureDensity(FEATURES, absolute=True),
        jsm.L0Histogram(FEATURES),
        jsm.ActivationStatistics(FEATURES),
        jsm.ActivationStatistics(FEATURES, absolute=True),
        jsm.DeadFeatures(FEATURES),
    ],
    ("source_activations", "decoded_activations"): [
        jsm.L2ReconstructionLoss(),
        jsm.NormalizedMSE(),
        jsm.CosineSimilarity(),
        jsm.ExplainedVariance(INPUTS),
    ],
    ("source_activations",): [jsm.OutlierSeverity(INPUTS)],
}


@narrow_dtype
@pytest.mark.parametrize(
    ("names", "metric"),
    [(names, metric) for names, metrics in ALONE.items() for metric in metrics],
    ids=lambda value: type(value).__name__ if isinstance(value, jsm.AbstractMetric) else "",
)
def test_a_metric_alone_on_cpu_holds_less_than_a_byte_for_each_activation(names, metric, dtype):
    """XLA may leave a sum that is alone to a library, and writes out what is summed for it."""
    inputs = {name: activations(BATCH, dtype)[name] for name in names}
    step = jax.jit(functools.partial(update, metric), donate_argnums=0)
    compiled = Compiled.of(step.lower(jax.eval_shape(metric.init), inputs).compile())
    assert compiled.temporary_bytes < BATCH * inputs[names[0]].shape[-1]


@narrow_dtype
@every_ready_made
def test_an_update_on_cpu_reads_every_block_once_for_features_and_once_for_vectors(metrics, dtype):
    """When it is read again, a block of at most 128 rows is in the cache."""
    arguments = jax.eval_shape(metrics.init), activations(BATCH, dtype)
    step = jax.jit(functools.partial(update, metrics), donate_argnums=0)
    compiled = Compiled.of(step.lower(*arguments).compile())
    assert 1 <= compiled.num_reads(BATCH * FEATURES) <= 2
    # Source and decoded activations; and before that, the source activations for their mean.
    assert 3 <= compiled.num_reads(BATCH * INPUTS) <= 5


def test_a_collection_on_cpu_computes_once_what_its_metrics_share():
    """In the compiled program, three metrics of firing reduce as often as one."""
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


def mesh_of(kind, num_chips):
    try:
        return Target(kind, num_chips).mesh(data=num_chips)
    except NotInstalledError as error:
        pytest.skip(str(error))


TARGETS = [(TPU_V5E, 1), (TPU_V5E, 16), (H100, 1), (H100, 8)]
NEWER = [(TPU_V6E, 1), (TPU_7X, 1), (B200, 1)]
named = functools.partial(pytest.mark.parametrize, "target", ids=lambda t: f"{t[1]} x {t[0]}")
every_target = named(TARGETS)


@named(TARGETS + NEWER)
@every_dtype
@every_ready_made
def test_an_update_reads_every_input_once_and_the_source_once_more(metrics, target, dtype):
    mesh = mesh_of(*target)
    inputs = activations(BATCH * mesh.size, dtype)
    arguments = jax.eval_shape(metrics.init), inputs
    compiled = Compiled.of(
        compile_for(functools.partial(update, metrics), mesh, arguments, (P(), P("data")))
    )
    assert compiled.num_reads(BATCH * FEATURES) == 1
    # Source and decoded activations; and before that, the source activations for their mean.
    assert compiled.num_reads(BATCH * INPUTS) == 3


@every_target
@every_dtype
@every_ready_made
def test_in_a_train_step_metrics_read_the_activations_once_more_at_most(metrics, target, dtype):
    mesh = mesh_of(*target)
    arguments = step_arguments(metrics, BATCH * mesh.size, dtype)
    with_metrics, without = (
        Compiled.of(
            compile_for(
                functools.partial(train_step, given), mesh, arguments, (P(), P(), P("data"))
            )
        )
        for given in (metrics, None)
    )
    reads = with_metrics.num_reads(BATCH * FEATURES) - without.num_reads(BATCH * FEATURES)
    # XLA:TPU reduces in the fusion that writes the activations.
    assert reads == {TPU_V5E: 0, H100: 1}[target[0]]


def cpu_mesh():
    return Mesh(np.array(jax.devices()[:8]), ("data",), axis_types=(AxisType.Auto,))


def sharded_update(mesh):
    metrics = sums_alone()
    arguments = jax.eval_shape(metrics.init), activations(BATCH * mesh.size, jnp.float32)
    specs = (P(), P("data"))
    return compile_for(functools.partial(update, metrics), mesh, arguments, specs)


def update_under_shard_map(mesh):
    metrics = sums_alone()
    arguments = jax.eval_shape(metrics.init), activations(BATCH * mesh.size, jnp.float32)
    specs = (P(), P("data"))
    step = jax.shard_map(
        functools.partial(update, metrics, axis_name="data"),
        mesh=mesh,
        in_specs=specs,
        out_specs=P(),
    )
    return compile_for(step, mesh, arguments, specs)


def reduction_of_states(mesh):
    metrics = sums_alone()
    states = jax.eval_shape(lambda: jax.tree.map(lambda x: jnp.stack([x] * 8), metrics.init()))
    reduce = jax.shard_map(
        lambda states: metrics.all_reduce(jax.tree.map(lambda x: x[0], states), "data"),
        mesh=mesh,
        in_specs=P("data"),
        out_specs=P(),
    )
    return compile_for(reduce, mesh, (states,), (P("data"),))


@pytest.mark.parametrize(
    ("sync", "at_most"),
    [
        (sharded_update, 2),  # sums, then sums of residuals
        (update_under_shard_map, 1),
        (reduction_of_states, 1),
    ],
)
def test_devices_exchange_a_whole_collection_at_once(sync, at_most):
    """At most so many all-reduces for each dtype, and nothing else."""
    collectives = Compiled.of(sync(cpu_mesh())).collectives()
    assert {collective.kind for collective in collectives} == {"all-reduce"}
    dtypes = collections.Counter(collective.operands[0].dtype for collective in collectives)
    assert max(dtypes.values()) <= at_most
