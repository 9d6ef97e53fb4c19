"""Wrong configurations are refused where metrics are made, with the argument that is wrong."""

import json
import subprocess
import sys

import pytest

import jax_sae_metrics as jsm
from misuse import assert_says

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
    "two results of the same name": (
        ValueError,
        lambda: jsm.MetricCollection(
            {"a/b": jsm.L0Norm(), "a": jsm.MetricCollection({"b": jsm.L0Norm()})}
        ),
        ("metrics: two results have the same name: a/b. Rename",),
    ),
    "two results of the same name of a component": (
        ValueError,
        lambda: jsm.MetricCollection(
            {"l0": jsm.PerComponent(jsm.L0Norm(1), ["mlp"]), "l0/mean": jsm.L1AbsoluteLoss()}
        ),
        ("metrics: two results have the same name: l0/mean. Rename",),
    ),
    "no quantiles": (ValueError, lambda: jsm.L0Histogram(8, quantiles=()), ("quantiles: ", "()")),
    "no number of tokens": (
        ValueError,
        lambda: jsm.DeadFeatures(8, after_tokens=()),
        ("after_tokens: ",),
    ),
    "a nameless metric": (
        ValueError,
        lambda: jsm.MetricCollection({"": jsm.L0Norm()}),
        ("metrics", "non-empty strings"),
    ),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_wrong_configuration(name):
    assert_says(*CONFIGURATIONS[name])


# A type checker, such as the one of these tests, would refuse this: run without one.
WRONG_TYPES = {
    "jsm.FeatureDensity(np.int64(8))": ("num_learned_features", "Python int", "int64(8)"),
    "jsm.FeatureDensity('8')": ("num_learned_features", "Python int", "'8'"),
    "jsm.FeatureDensity(8, None, np.float32(0.5))": ("threshold", "Python number", "float32(0.5)"),
    "jsm.L0Norm(clusters='texts')": ("clusters", "expected one of items, prompts, got 'texts'"),
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
    "jsm.L0Histogram(8, quantiles=0.5)": ("quantiles: ", "such as a tuple", "got 0.5"),
    "jsm.L0Histogram(8, quantiles='ab')": ("quantiles: ", "such as a tuple", "'ab'"),
    "jsm.L0Histogram(8, quantiles={0.1, 0.9})": ("quantiles: ", "in an order"),
    "jsm.L0Histogram(8, quantiles=('a',))": ("quantiles: ", "Python number", "'a'"),
    "jsm.ActivationStatistics(8, histogram_edges=1.0)": ("histogram_edges: ", "got 1.0"),
    "jsm.ActivationStatistics(8, histogram_edges=None)": ("histogram_edges: ", "got None"),
    "jsm.DeadFeatures(8, after_tokens=None)": ("after_tokens: ", "positive Python int", "None"),
    "jsm.DeadFeatures(8, after_tokens={1, 2})": ("after_tokens: ", "positive Python int", "{1, 2}"),
    "jsm.PerComponent(jsm.L0Norm(2), range(2))": ("component_names: ", "strings", "got 0"),
    "jsm.PerComponent(jsm.L0Norm(2), 2)": ("component_names: ", "in an order", "got 2"),
    "jsm.PerComponent(jsm.L0Norm(2), {'a', 'b'})": ("component_names: ", "in an order"),
    "jsm.PerComponent(jsm.L0Norm(2), ('a', ''))": ("component_names: ", "non-empty", "''"),
    "jsm.PerComponent(jsm.L0Norm(1), 'a', 3)": ("prefix: ", "strings", "got 3"),
    "jsm.ExplainedVariance(4, None, np.array(['pooled']))": ("definition: ", "expected one of"),
    "jsm.MetricCollection({1: jsm.L0Norm()})": ("metrics: ", "non-empty strings", "got 1"),
    "jsm.FeatureDensity(np.ones((100, 100)))": ("num_learned_features: ", "Python int", "..."),
    "jsm.TopKActivations([[1.0]], np.zeros((1, 1), int), 3)": ("values", "jnp.asarray(values)"),
    "jsm.TopKActivations(np.ones((1, 1)), [[0]], 3)": ("indices", "jnp.asarray(indices)"),
    "jsm.TopKActivations(np.ones((1, 1)), 'a', 3)": ("indices", "got a str"),
    "jsm.next_token_mask([True, False])": ("mask", "jnp.asarray(mask)"),
    "jsm.l1_absolute_loss(1.0)": ("learned_activations", "got shape ()"),
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


def test_a_slash_in_a_name_is_no_clash_by_itself():
    metrics = jsm.MetricCollection({"a": jsm.L0Norm(), "a/b": jsm.L1AbsoluteLoss()})
    assert set(metrics.compute(metrics.init())) == {"a", "a/b"}
