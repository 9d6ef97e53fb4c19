"""Wrong input fails while tracing, with a message that says what to change."""

import dataclasses
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import ShapeDtypeStruct

import jax_sae_metrics as jsm

FEATURES, COMPONENTS = 8, 3

density = jsm.FeatureDensity(FEATURES)
component_density = jsm.FeatureDensity(FEATURES, COMPONENTS)
single_density = jsm.FeatureDensity(FEATURES, 1)
l2 = jsm.L2ReconstructionLoss(COMPONENTS)
sae_loss = jsm.SparseAutoencoderLoss(0.1)
score = jsm.ReconstructionScore(COMPONENTS)
collection = jsm.MetricCollection({"density": density, "l2": jsm.L2ReconstructionLoss()})


def floats(*shape, dtype=jnp.float32):
    return ShapeDtypeStruct(shape, dtype)


def learned(*shape, dtype=jnp.float32):
    return {"learned_activations": floats(*shape, dtype=dtype)}


def reconstruction(source, decoded):
    return {"source_activations": floats(*source), "decoded_activations": floats(*decoded)}


def losses(*shape, **others):
    names = ("", "_with_reconstruction", "_with_zero_ablation")
    return {f"source_model_loss{name}": floats(*shape) for name in names} | others


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A call that must fail, and what its message must name."""

    name: str
    error: type[Exception]
    metric: jsm.AbstractMetric
    inputs: dict
    says: tuple[str, ...]


MISTAKES = [
    Mistake(
        "wrong feature count",
        ValueError,
        density,
        learned(4, 5),
        ("learned_activations", "8 learned features", "(4, 5)"),
    ),
    Mistake(
        "wrong feature count of components",
        ValueError,
        component_density,
        learned(4, 3, 5),
        ("learned_activations", "8 learned features", "(4, 3, 5)"),
    ),
    Mistake(
        "missing component axis",
        ValueError,
        component_density,
        learned(4, 8),
        ("learned_activations", "component=3", "(4, 8)", "missing axis"),
    ),
    Mistake(
        "missing component axis of a single component",
        ValueError,
        single_density,
        learned(4, 8),
        ("learned_activations", "component=1", "(4, 8)"),
    ),
    Mistake(
        "batch as large as the components taken for them",
        ValueError,
        component_density,
        learned(3, 8),
        ("learned_activations", "component=3", "(3, 8)", "at least one batch axis"),
    ),
    Mistake(
        "wrong component count",
        ValueError,
        component_density,
        learned(4, 2, 8),
        ("learned_activations", "component axis of size 3", "(4, 2, 8)"),
    ),
    Mistake(
        "component axis in the wrong place",
        ValueError,
        component_density,
        learned(3, 4, 8),
        ("learned_activations", "before the last axis", "(3, 4, 8)", "Move the component axis"),
    ),
    Mistake(
        "one vector without a batch axis",
        ValueError,
        density,
        learned(8),
        ("learned_activations", "[*batch, feature]", "(8,)"),
    ),
    Mistake(
        "integer activations",
        TypeError,
        density,
        learned(4, 8, dtype=jnp.int32),
        ("learned_activations", "floating-point", "int32", "astype"),
    ),
    Mistake(
        "boolean activations",
        TypeError,
        density,
        learned(4, 8, dtype=bool),
        ("learned_activations", "floating-point", "bool"),
    ),
    Mistake(
        "complex activations",
        TypeError,
        density,
        learned(4, 8, dtype=jnp.complex64),
        ("learned_activations", "floating-point", "complex64"),
    ),
    Mistake(
        "source and decoded of different widths",
        ValueError,
        l2,
        reconstruction((4, 3, 6), (4, 3, 1)),
        ("source_activations", "decoded_activations", "(4, 3, 6)", "(4, 3, 1)"),
    ),
    Mistake(
        "source and decoded of different batches",
        ValueError,
        l2,
        reconstruction((4, 3, 6), (1, 3, 6)),
        ("same shape", "source_activations (4, 3, 6)", "decoded_activations (1, 3, 6)"),
    ),
    Mistake(
        "decoded without the component axis",
        ValueError,
        l2,
        reconstruction((4, 3, 6), (4, 6)),
        ("decoded_activations", "component=3", "(4, 6)"),
    ),
    Mistake(
        "learned and source of different batches",
        ValueError,
        sae_loss,
        reconstruction((4, 6), (4, 6)) | learned(5, 8),
        ("learned_activations", "(5,)", "batch axes of source_activations, (4,)"),
    ),
    Mistake(
        "mask of the wrong length",
        ValueError,
        density,
        learned(4, 8) | {"mask": floats(5, dtype=bool)},
        ("mask", "(4,)", "(5,)"),
    ),
    Mistake(
        "mask with a feature axis",
        ValueError,
        density,
        learned(4, 8) | {"mask": floats(4, 8, dtype=bool)},
        ("mask", "(4,)", "(4, 8)"),
    ),
    Mistake(
        "mask with the wrong component axis",
        ValueError,
        component_density,
        learned(4, 3, 8) | {"mask": floats(4, 2, dtype=bool)},
        ("mask", "(4,)", "(4, 3)", "(4, 2)"),
    ),
    Mistake(
        "mask of floats",
        TypeError,
        density,
        learned(4, 8) | {"mask": floats(4)},
        ("mask", "bool", "float32"),
    ),
    Mistake(
        "mask of losses of the wrong shape",
        ValueError,
        score,
        losses(6, component_idx=0, mask=floats(7, dtype=bool)),
        ("mask", "(6,)", "(7,)"),
    ),
    Mistake(
        "loss_mask of integers",
        TypeError,
        score,
        losses(6, component_idx=0, loss_mask=floats(6, dtype=jnp.int32)),
        ("loss_mask", "bool", "int32"),
    ),
    Mistake(
        "component_idx too large",
        IndexError,
        score,
        losses(6, component_idx=3),
        ("component_idx", "num_components=3", "got 3"),
    ),
    Mistake(
        "component_idx negative",
        IndexError,
        score,
        losses(6, component_idx=-1),
        ("component_idx", "num_components=3", "got -1"),
    ),
    Mistake(
        "component_idx of NumPy out of range",
        IndexError,
        score,
        losses(6, component_idx=np.int64(7)),
        ("component_idx", "got 7"),
    ),
    Mistake(
        "component_idx that is a float",
        TypeError,
        score,
        losses(6, component_idx=1.0),
        ("component_idx", "integer scalar", "float32"),
    ),
    Mistake(
        "component_idx that is an array",
        TypeError,
        score,
        losses(6, component_idx=floats(3, dtype=jnp.int32)),
        ("component_idx", "integer scalar", "(3,)"),
    ),
    Mistake(
        "component_idx without components",
        ValueError,
        jsm.ReconstructionScore(),
        losses(6, component_idx=0),
        ("component_idx", "num_components=None"),
    ),
    Mistake(
        "component_idx for activations",
        TypeError,
        component_density,
        learned(4, 3, 8) | {"component_idx": 0},
        ("component_idx", "unknown input of FeatureDensity", "learned_activations"),
    ),
    Mistake(
        "losses of no component in particular",
        ValueError,
        score,
        losses(6),
        ("source_model_loss", "num_components=3", "component_idx", "(6,)"),
    ),
    Mistake(
        "losses of different shapes",
        ValueError,
        score,
        losses(6, component_idx=0) | {"source_model_loss": floats(5)},
        ("source_model_loss (5,)", "source_model_loss_with_reconstruction (6,)"),
    ),
    Mistake(
        "integer losses",
        TypeError,
        score,
        losses(6, component_idx=0) | {"source_model_loss": floats(6, dtype=jnp.int32)},
        ("source_model_loss", "floating-point", "int32"),
    ),
    Mistake(
        "unknown input of a metric",
        TypeError,
        density,
        learned(4, 8) | {"learnt_activations": floats(4, 8)},
        ("learnt_activations", "unknown input of FeatureDensity", "learned_activations"),
    ),
    Mistake(
        "missing input of a metric",
        TypeError,
        density,
        {"source_activations": floats(4, 8)},
        ("learned_activations", "FeatureDensity", "source_activations"),
    ),
    Mistake(
        "no input at all",
        TypeError,
        density,
        {},
        ("learned_activations", "FeatureDensity", "given nothing"),
    ),
    Mistake(
        "unknown input of a collection",
        TypeError,
        collection,
        learned(4, 8) | reconstruction((4, 6), (4, 6)) | {"targets": floats(4)},
        ("targets", "unknown input of MetricCollection", "learned_activations"),
    ),
    Mistake(
        "missing input of a collection",
        TypeError,
        collection,
        learned(4, 8) | {"source_activations": floats(4, 6)},
        ("decoded_activations", "L2ReconstructionLoss"),
    ),
    Mistake(
        "loss_mask where there are no losses",
        TypeError,
        density,
        learned(4, 8) | {"loss_mask": floats(4, dtype=bool)},
        ("loss_mask", "unknown input of FeatureDensity"),
    ),
]


def trace(function, *args, **kwargs):
    """Call under tracing only: nothing is compiled or run."""
    static = {k: v for k, v in kwargs.items() if not isinstance(v, ShapeDtypeStruct)}
    traced = {k: v for k, v in kwargs.items() if isinstance(v, ShapeDtypeStruct)}
    return jax.eval_shape(lambda args, traced: function(*args, **traced, **static), args, traced)


def assert_says(error, call, says):
    with pytest.raises(error) as raised:
        call()
    message = str(raised.value)
    assert all(part in message for part in says), f"{says} not all in: {message}"


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
@pytest.mark.parametrize("call", ["update", "forward", "observe"])
def test_wrong_input(mistake, call):
    state = () if call == "observe" else (mistake.metric.init(),)
    assert_says(
        mistake.error,
        lambda: trace(getattr(mistake.metric, call), *state, **mistake.inputs),
        mistake.says,
    )


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
        ("not a state of FeatureDensity", "u32[8]", "u32[3,8]"),
    ),
    "compute of a state of another metric": (
        ValueError,
        lambda: density.compute(jsm.L0Norm().init()),
        ("state", "not a state of FeatureDensity"),
    ),
    "compute of a state of the same shape of another metric": (
        ValueError,
        lambda: jsm.L2ReconstructionLoss().compute(jsm.L1AbsoluteLoss().init()),
        ("not a state of L2ReconstructionLoss", "_L1AbsoluteLossState"),
    ),
    "merge with a state of the same shape of another metric": (
        ValueError,
        lambda: density.merge(density.init(), jsm.NeuronActivity(FEATURES).init()),
        ("not a state of FeatureDensity", "_NeuronActivityState"),
    ),
    "compute of states stacked over models": (
        ValueError,
        lambda: density.compute(jax.tree.map(lambda x: jnp.stack([x, x]), density.init())),
        ("not a state of FeatureDensity", "u32[8]", "u32[2,8]", "vmap"),
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
        ("observation", "int32[8]", "int32[3, 8]"),
    ),
    "accumulate a state": (
        ValueError,
        lambda: density.accumulate(density.init(), density.init()),
        ("observation", "int32[8]", "got Count"),
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


CONFIGURATIONS = {
    "no features": (ValueError, lambda: jsm.FeatureDensity(0), ("num_learned_features", "0")),
    "negative features": (ValueError, lambda: jsm.NeuronFiredCount(-3), ("num_learned_features",)),
    "boolean components": (ValueError, lambda: jsm.L0Norm(True), ("num_components", "True")),
    "no components": (ValueError, lambda: jsm.L1AbsoluteLoss(0), ("num_components", "None")),
    "no vectors": (ValueError, lambda: jsm.Capacity(0, 8), ("num_activation_vectors",)),
    "negative threshold": (ValueError, lambda: jsm.FeatureDensity(8, None, -1.0), ("threshold",)),
    "threshold that is NaN": (
        ValueError,
        lambda: jsm.FeatureDensity(8, None, float("nan")),
        ("threshold", "nan"),
    ),
    "portion above one": (
        ValueError,
        lambda: jsm.NeuronActivity(8, None, 1.5),
        ("threshold_is_dead_portion_fires", "1.5", "at most 1"),
    ),
    "negative coefficient": (
        ValueError,
        lambda: jsm.SparseAutoencoderLoss(-0.1),
        ("l1_coefficient", "-0.1"),
    ),
    "names that do not fit": (
        ValueError,
        lambda: jsm.PerComponent(jsm.L0Norm(3), ("a", "b")),
        ("component_names", "3", "('a', 'b')"),
    ),
    "names that repeat": (
        ValueError,
        lambda: jsm.PerComponent(jsm.L0Norm(2), ("a", "a")),
        ("component_names", "different"),
    ),
    "a component called mean": (
        ValueError,
        lambda: jsm.PerComponent(jsm.L0Norm(2), ("a", "mean")),
        ("component_names", "mean"),
    ),
    "per component without components": (
        TypeError,
        lambda: jsm.PerComponent(jsm.L0Norm(), ("a",)),
        ("metric", "num_components"),
    ),
    "an empty collection": (ValueError, lambda: jsm.MetricCollection({}), ("metrics", "empty")),
    "a string of names": (
        ValueError,
        lambda: jsm.PerComponent(jsm.L0Norm(2), "ab"),
        ("component_names", "got 1: ('ab',)"),
    ),
    "a nameless metric": (
        ValueError,
        lambda: jsm.MetricCollection({"": jsm.L0Norm()}),
        ("metrics", "non-empty"),
    ),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_wrong_configuration(name):
    assert_says(*CONFIGURATIONS[name])


# What a type checker would refuse, as these tests' own does: seen in a process without one.
WRONG_TYPES = {
    "jsm.FeatureDensity(np.int64(8))": ("num_learned_features", "Python int", "int64(8)"),
    "jsm.FeatureDensity('8')": ("num_learned_features", "Python int", "'8'"),
    "jsm.FeatureDensity(8, None, np.float32(0.5))": ("threshold", "Python number", "float32(0.5)"),
    "jsm.ExplainedVariance(4, None, 'r2')": ("definition", "expected one of pooled"),
    "jsm.MetricCollection({'l0': jsm.L0Norm})": ("metrics['l0']", "make an instance"),
    "jsm.MetricCollection([jsm.L0Norm()])": ("metrics", "dictionary of metrics by name"),
    "jsm.PerComponent(jsm.L0Norm, 'a')": ("metric", "make an instance"),
    "jsm.track(jsm.L0Norm)": ("metrics", "make an instance"),
    "jsm.L0Norm().init(sharding=PartitionSpec())": ("sharding", "NamedSharding(mesh, spec)"),
    "jsm.capacities([[1, 2]])": ("features", "floating-point", "list"),
    "jsm.KLDivergenceScore(ablation='median')": ("ablation", "zero, mean", "'median'"),
    "jsm.ModelLoss(ablation='median')": ("ablation", "zero, mean", "'median'"),
    "jsm.ReconstructionScore(ablation='median')": ("ablation", "zero, mean", "'median'"),
    "jsm.next_token_mask(np.ones(3, bool), 'both')": ("side", "source, target", "'both'"),
}


@pytest.fixture(scope="module")
def messages():
    program = """if True:
        import json, sys, warnings
        import numpy as np
        from jax.sharding import PartitionSpec
        import jax_sae_metrics as jsm

        warnings.simplefilter("ignore")
        messages = {}
        for expression in json.load(sys.stdin):
            try:
                eval(expression)
            except (TypeError, ValueError) as error:
                messages[expression] = str(error)
        json.dump(messages, sys.stdout)
    """
    printed = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(list(WRONG_TYPES)),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return json.loads(printed)


@pytest.mark.parametrize("expression", WRONG_TYPES)
def test_wrong_types(expression, messages):
    message = messages[expression]
    assert all(part in message for part in WRONG_TYPES[expression]), message


def test_a_collection_says_which_metric_it_was():
    metrics = jsm.MetricCollection({"narrow": density, "wide": jsm.FeatureDensity(9)})
    nested = jsm.MetricCollection({"train": metrics})
    with pytest.raises(ValueError, match="expects 9 learned features") as raised:
        trace(nested.update, nested.init(), **learned(4, 8))
    notes = " ".join(raised.value.__notes__)
    assert "'wide'" in notes
    assert "'train'" in notes
    assert "'narrow'" not in notes


def test_results_of_the_same_name_are_refused():
    twice = jsm.MetricCollection(
        {"a/b": jsm.L0Norm(), "a": jsm.MetricCollection({"b": jsm.L0Norm()})}
    )
    assert_says(ValueError, lambda: jax.eval_shape(twice.compute, twice.init()), ("a/b",))


def test_a_traced_component_idx_out_of_range_adds_nothing():
    values = {name: jnp.ones(6) * (i + 1) for i, name in enumerate(losses(6))}
    state = score.update(score.init(), component_idx=1, **values)
    update = jax.jit(score.update)
    for index in (-1, 3, 100):
        after = update(state, component_idx=jnp.int32(index), **values)
        assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), state, after)))
    after = update(state, component_idx=jnp.int32(2), **values)
    np.testing.assert_array_equal(score.compute(after), [np.nan, 0.5, 0.5])
