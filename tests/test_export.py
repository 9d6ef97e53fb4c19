"""An exported update takes batches of any size: `jax.export` with a symbolic batch axis."""

import subprocess
import sys
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from jax import export

import jax_sae_metrics as jsm
from learned_activations import flat_form, top_k_form
from metric_case import UNBATCHED
from metric_cases import ALL_CASES
from subjects import few_and_all_together

FEATURES = 8


@pytest.fixture(autouse=True)
def without_checks_of_annotations():
    """`jaxtyping` cannot broadcast symbolic sizes."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def exported(metric, inputs, platforms=("cpu",)):
    """The update, for any size of the first axis of the inputs that have batch axes."""
    (size,) = export.symbolic_shape("batch")

    def any_size(leaf):
        return jax.ShapeDtypeStruct((size, *leaf.shape[1:]), leaf.dtype)

    shapes = {n: x if n in UNBATCHED else jax.tree.map(any_size, x) for n, x in inputs.items()}
    # `export` takes leaves of the trees that it knows; a state is none of these.
    leaves, tree = jax.tree.flatten((jax.eval_shape(metric.init), shapes))

    @jax.jit
    def update(*leaves):
        state, inputs = jax.tree.unflatten(tree, leaves)
        return jax.tree.leaves(metric.update(state, **inputs))

    program = export.export(update, platforms=platforms)(*leaves)

    def call(state, inputs):
        return jax.tree.unflatten(
            jax.tree.structure(state), program.call(*jax.tree.leaves((state, inputs)))
        )

    return call


@few_and_all_together
@pytest.mark.exhaustive
@pytest.mark.parametrize("masked", [False, True])
def test_an_exported_update_takes_batches_of_any_size(subject, masked):
    metric = subject.build()

    def draw(size):
        inputs = subject.inputs(size)
        keep = np.random.default_rng(size).random(subject.batch_shape(size)) < 0.6
        return inputs | ({"mask": jnp.asarray(keep)} if masked else {})

    update, compute = exported(metric, draw(8)), jax.jit(metric.compute)
    state, wanted = metric.init(), metric.init()
    for size in (40, 3):
        state = update(state, draw(size))
        wanted = jax.jit(metric.update)(wanted, **draw(size))
    for (case, one), (_, other) in zip(
        subject.values(compute(state)), subject.values(compute(wanted)), strict=True
    ):
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            # Sums of many are taken in another order.
            np.testing.assert_allclose(a, b, rtol=10 * case.rtol, atol=1e-5, err_msg=case.name)


def test_an_exported_update_of_few_activations():
    metric = jsm.MetricCollection(
        {
            "density": jsm.FeatureDensity(FEATURES),
            "l0": jsm.L0Histogram(FEATURES),
            "dead": jsm.DeadFeatures(FEATURES, after_tokens=(1, 3)),
            "capacity": jsm.Capacity(10, FEATURES),
            "statistics": jsm.ActivationStatistics(FEATURES),
        }
    )

    def draw(size):
        values = np.maximum(np.random.default_rng(size).normal(size=(size, FEATURES)), 0)
        return {"learned_activations": top_k_form(jnp.asarray(values, jnp.float32))}

    update, compute = exported(metric, draw(2)), jax.jit(metric.compute)
    value = compute(update(metric.init(), draw(20)))
    wanted = compute(jax.jit(metric.update)(metric.init(), **draw(20)))
    for name in wanted:
        np.testing.assert_allclose(value[name], wanted[name], rtol=1e-5, err_msg=name)


def test_an_update_is_exported_for_all_platforms():
    metric = jsm.training_metrics(FEATURES, 4)
    widths = {"source_activations": 4, "decoded_activations": 4, "learned_activations": FEATURES}
    inputs = {name: jnp.ones((5, width)) for name, width in widths.items()}
    update = exported(metric, inputs, platforms=("cpu", "cuda", "rocm", "tpu"))
    assert metric.compute(update(metric.init(), inputs))["l0"] == FEATURES


# What a fresh process sees of a serialised program: how many arrays it takes and returns.
READ = """
import sys
import jax_sae_metrics
from jax import export
program = export.deserialize(open(sys.argv[1], "rb").read())
print(program.in_tree.num_leaves, program.out_tree.num_leaves)
"""


def test_a_fresh_process_reads_programs_of_all_states_observations_and_inputs(tmp_path):
    metrics = {case.name: case.build(3) for case in ALL_CASES}
    learned = jnp.ones((2, FEATURES))
    taken = {
        "states": {name: jax.eval_shape(metric.init) for name, metric in metrics.items()},
        "inputs": [top_k_form(learned), flat_form(learned)],
        "observation": jsm.training_metrics(FEATURES, FEATURES).observe(
            source_activations=learned, learned_activations=learned, decoded_activations=learned
        ),
    }
    program = export.export(jax.jit(lambda taken: taken))(jax.eval_shape(lambda: taken))
    blob = program.serialize()
    again = export.deserialize(blob)
    assert (again.in_tree, again.out_tree) == (program.in_tree, program.out_tree)
    (tmp_path / "program").write_bytes(blob)
    read = subprocess.run(
        [sys.executable, "-c", READ, tmp_path / "program"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert read.stdout.split() == [str(len(jax.tree.leaves(taken)))] * 2


class Node(eqx.Module):
    """A node of a user's own."""

    count: jsm.Count


class Both(NamedTuple):
    """A named tuple of a user's own."""

    node: Node
    total: jsm.Total


class Own(jsm.AbstractMetric):
    """A metric of a user's own."""

    def _init(self):
        return Both(Node(jsm.Count.zeros(())), jsm.Total.zeros(()))

    def _observe(self, batch):
        learned = batch.learned_activations
        fired = learned.sum_per_vector(lambda f: f > 0)
        return {"fired": fired, "sum": learned.sum_per_vector(lambda f: f)}

    def _finish(self, found):
        count = jnp.sum(found["fired"] > 0, dtype=jnp.int32)
        return Both(Node(count), jnp.sum(found["sum"]))

    def _compute(self, state):
        return state.total.to_float() / state.node.count.to_float()


@pytest.mark.parametrize("metric", [Own(), jsm.training_metrics(FEATURES, FEATURES)])
def test_a_serialised_update_is_called_with_states(metric):
    learned = jnp.arange(2.0 * FEATURES).reshape(2, FEATURES)
    inputs = {"learned_activations": learned}
    if isinstance(metric, jsm.MetricCollection):
        inputs |= {"source_activations": learned, "decoded_activations": learned + 1}
    state = metric.init()
    blob = export.export(jax.jit(metric.update))(state, **inputs).serialize()
    got = export.deserialize(blob).call(state, **inputs)
    wanted = jax.jit(metric.update)(state, **inputs)
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    jax.tree.map(np.testing.assert_array_equal, metric.compute(got), metric.compute(wanted))


class Setting(eqx.Module):
    """A node with settings."""

    unit: str = eqx.field(static=True)
    count: jsm.Count
    metric: jsm.AbstractMetric = eqx.field(static=True)


class WithSetting(jsm.AbstractMetric):
    """A metric whose state has settings."""

    def _init(self):
        return Setting("tokens", jsm.Count.zeros(()), jsm.FeatureDensity(FEATURES))

    def _observe(self, batch):
        raise NotImplementedError

    def _compute(self, state):
        return state.count.to_int()


def test_static_fields_are_serialised():
    state = WithSetting().init()
    program = export.export(jax.jit(lambda state: state))(state)
    again = export.deserialize(program.serialize())
    assert again.in_tree == program.in_tree
    assert again.call(state).accumulators.metric == jsm.FeatureDensity(FEATURES)
