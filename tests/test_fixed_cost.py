"""What an update costs whatever the batch: every array, node and kernel takes microseconds.

The numbers are those of today's compiled programs. More of them make small steps slower.
"""

import jax
import jax.numpy as jnp
import pytest

import jax_sae_metrics as jsm
from compiled import Compiled

pytestmark = pytest.mark.usefixtures("compiled_anew")

FEATURES, INPUTS = 4096, 512
CODES, BOTH = ("learned_activations",), ("source_activations", "decoded_activations")
# (metric, inputs, arrays of its state, kernels of an update with one vector).
COSTS = {
    "FeatureDensity": (jsm.FeatureDensity(FEATURES), CODES, 2, 4),
    "L0Norm": (jsm.L0Norm(), CODES, 2, 15),
    "ExplainedVariance": (jsm.ExplainedVariance(INPUTS), BOTH, 4, 31),
    "training_metrics": (jsm.training_metrics(FEATURES, INPUTS), CODES + BOTH, 8, 41),
    "evaluation_metrics": (jsm.evaluation_metrics(FEATURES, INPUTS), CODES + BOTH, 11, 68),
}
# What the compiler lists and no kernel does.
FREE = ("parameter", "constant", "tuple", "bitcast", "get-tuple-element")
every_cost = pytest.mark.parametrize("name", COSTS)


@every_cost
def test_a_state_has_few_arrays(name):
    metric, _, num_arrays, _ = COSTS[name]
    assert len(jax.tree.leaves(metric.init())) <= num_arrays


def test_a_collection_adds_two_nodes_to_its_arrays():
    """JAX takes a state apart at every call, one node after the other."""
    large = jsm.evaluation_metrics(FEATURES, INPUTS, model_losses=True, logits=True)
    tree = jax.tree.structure(large.init())
    assert tree.num_nodes == tree.num_leaves + 2


@every_cost
def test_an_update_has_few_kernels(name):
    metric, inputs, _, num_kernels = COSTS[name]
    sizes = {"learned_activations": FEATURES}
    batch = {n: jax.ShapeDtypeStruct((1, sizes.get(n, INPUTS)), jnp.float32) for n in inputs}
    step = jax.jit(metric.update, donate_argnums=0)
    compiled = Compiled.of(step.lower(jax.eval_shape(metric.init), **batch).compile())
    kernels = [i for i in compiled.instructions if i.opcode not in FREE]
    assert 0 < len(kernels) <= num_kernels
