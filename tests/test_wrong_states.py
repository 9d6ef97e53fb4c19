"""Misused states, observations, axes and functions are refused with what to do instead."""

import jax
import jax.numpy as jnp
import pytest

import jax_sae_metrics as jsm
from misuse import FEATURES, assert_says, collection, component_density, density

acts = jnp.ones((4, FEATURES))
of_components = component_density.init()
MISUSES = {
    "update of a state of another metric": (
        ValueError,
        lambda: density.update(jsm.L0Norm().init(), learned_activations=acts),
        ("state", "not a state of FeatureDensity", "init"),
    ),
    "update of a state of another configuration": (
        ValueError,
        lambda: density.update(of_components, learned_activations=acts),
        ("not a state of FeatureDensity", "num_components=3", "num_components=None"),
    ),
    "compute of a state of another metric": (
        ValueError,
        lambda: density.compute(jsm.L0Norm().init()),
        ("state", "not a state of FeatureDensity"),
    ),
    "compute of a state of the same shape of another metric": (
        ValueError,
        lambda: jsm.L2ReconstructionLoss().compute(jsm.L1AbsoluteLoss().init()),
        ("not a state of L2ReconstructionLoss", "counted by L1AbsoluteLoss"),
    ),
    "merge with a state of the same shape of another metric": (
        ValueError,
        lambda: density.merge(density.init(), jsm.NeuronActivity(FEATURES).init()),
        ("not a state of FeatureDensity", "counted by NeuronActivity"),
    ),
    "compute of states stacked over models": (
        ValueError,
        lambda: density.compute(jax.tree.map(lambda x: jnp.stack([x, x]), density.init())),
        ("not a state of FeatureDensity", "u32[8]", "u32[2,8]", "vmap"),
    ),
    "compute of a collection's state by one of its metrics": (
        ValueError,
        lambda: density.compute(collection.init()),
        ("not a state of FeatureDensity", "a dictionary of density, l2", "one may be meant"),
    ),
    "compute of a collection's state with a part missing": (
        ValueError,
        lambda: collection.compute({"density": density.init()}),
        ("state", "not a state of MetricCollection"),
    ),
    "compute of an observation": (
        ValueError,
        lambda: density.compute(density.observe(learned_activations=acts)),
        ("state", "not a state of FeatureDensity"),
    ),
    "merge with a state of another metric": (
        ValueError,
        lambda: density.merge(density.init(), jsm.NeuronFiredCount(FEATURES).init()),
        ("state", "not a state of FeatureDensity"),
    ),
    "all_reduce of a state of another metric": (
        ValueError,
        lambda: density.all_reduce(jsm.L0Norm().init(), "data"),
        ("state", "not a state of FeatureDensity"),
    ),
    "accumulate an observation of another metric": (
        ValueError,
        lambda: density.accumulate(density.init(), jsm.L0Norm().observe(learned_activations=acts)),
        ("observation", "FeatureDensity"),
    ),
    "accumulate an observation of another configuration": (
        ValueError,
        lambda: density.accumulate(
            density.init(), component_density.observe(learned_activations=jnp.ones((4, 3, 8)))
        ),
        ("observation", "counted by FeatureDensity", "num_components=3", "num_components=None"),
    ),
    "accumulate a state": (
        ValueError,
        lambda: density.accumulate(density.init(), density.init()),
        ("observation", "FeatureDensity", "in place of an observation there is a State"),
    ),
    "accumulate counts that were averaged": (
        ValueError,
        lambda: density.accumulate(
            density.init(),
            jax.tree.map(lambda x: x / 2, density.observe(learned_activations=acts)),
        ),
        ("observation", "int32[8]", "float32[8]"),
    ),
    "update with an axis that is not bound": (
        NameError,
        lambda: density.update(density.init(), axis_name="data", learned_activations=acts),
        ("axis_name='data'", "not bound", "shard_map"),
    ),
    "all_reduce with an axis that is not bound": (
        NameError,
        lambda: density.all_reduce(density.init(), ("data", "model")),
        ("axis_name=('data', 'model')", "not bound"),
    ),
    "loss functions of different widths": (
        ValueError,
        lambda: jsm.l2_reconstruction_loss(jnp.ones((4, 6)), jnp.ones((4, 1))),
        ("source_activations", "decoded_activations", "(4, 6)", "(4, 1)"),
    ),
    "loss functions of different batches": (
        ValueError,
        lambda: jsm.sparse_autoencoder_loss(
            jnp.ones((4, 6)), jnp.ones((5, 8)), jnp.ones((4, 6)), 0.1
        ),
        ("source_activations", "learned_activations", "(4,)", "(5,)"),
    ),
    "capacities of a single vector": (
        ValueError,
        lambda: jsm.capacities(jnp.ones(8)),
        ("features", "[vector, feature]", "(8,)"),
    ),
}


@pytest.mark.parametrize("name", MISUSES)
def test_misuse(name):
    error, call, says = MISUSES[name]
    assert_says(error, lambda: jax.eval_shape(call), says)
