"""An exported update takes batches of any size: `jax.export` with a symbolic batch axis."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from jax import export

import jax_sae_metrics as jsm
from learned_activations import top_k_form
from metric_case import UNBATCHED
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
