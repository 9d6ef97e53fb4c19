"""Recorded outputs of the torch version (sparse_autoencoder on torch 2.13, torchmetrics 1.9)."""

import json
import pathlib

import numpy as np
import pytest

import jax_sae_metrics as jsm

REFERENCE = json.loads((pathlib.Path(__file__).parent / "data/torch_reference.json").read_text())

METRICS = {
    "FeatureDensityMetric": jsm.FeatureDensity,
    "NeuronFiredCountMetric": jsm.NeuronFiredCount,
    "NeuronActivityMetric": jsm.NeuronActivity,
    "L0NormMetric": jsm.L0Norm,
    "CapacityMetric": jsm.Capacity,
    "L1AbsoluteLoss": jsm.L1AbsoluteLoss,
    "L2ReconstructionLoss": jsm.L2ReconstructionLoss,
    "SparseAutoencoderLoss": jsm.SparseAutoencoderLoss,
    "ReconstructionScoreMetric": jsm.ReconstructionScore,
}
# The torch version ignores inputs that a metric does not read; here they are an error.
UNREAD = {"L2ReconstructionLoss": {"learned_activations"}}


def updates_of(case):
    unread = UNREAD.get(case["metric"], set())
    for update in case["updates"]:
        yield {
            name: np.asarray(value, np.float32) if isinstance(value, list) else value
            for name, value in update.items()
            if name not in unread
        }


def run(metric, updates):
    state = metric.init()
    for update in updates:
        state = metric.update(state, **update)
    return metric.compute(state)


def compute(case):
    name, init, updates = case["metric"], dict(case["init"]), list(updates_of(case))
    if name == "L1AbsoluteLoss.keep_batch_dim":
        return np.concatenate([jsm.l1_absolute_loss(**update) for update in updates])
    if name == "ClasswiseWrapperWithMean(L0NormMetric)":
        metric = jsm.PerComponent(jsm.L0Norm(init.pop("num_components")), **init)
        values = run(metric, updates)
        # torchmetrics' own wrapper wrote the names without the slash, and no mean.
        return {key.replace("norm/", "norm"): value for key, value in values.items()}
    if name == "CapacityMetric":
        arrays = [update["learned_activations"] for update in updates]
        init = {
            "num_activation_vectors": sum(len(array) for array in arrays),
            "num_components": arrays[0].shape[1],
            "num_learned_features": arrays[0].shape[2],
        }
    return run(METRICS[name](**init), updates)


@pytest.mark.parametrize(
    "case",
    REFERENCE["cases"],
    ids=lambda case: f"{case['metric']} {case['init']} {case['note']}",
)
def test_reproduces_the_torch_version(case):
    value, expected = compute(case), case["expected"]
    if isinstance(expected, dict):
        for name, want in expected.items():
            np.testing.assert_allclose(value[name], want, rtol=1e-6)
        return
    # torchmetrics squeezes the component axis out of one-element results.
    np.testing.assert_allclose(np.ravel(value), np.ravel(np.asarray(expected, float)), rtol=1e-6)


# The values printed in the torch version's own documentation.
DOCUMENTED = {
    "FeatureDensityMetric": (
        jsm.FeatureDensity(num_learned_features=3, num_components=1),
        {"learned_activations": [[[1.0, 0.0, 1.0]], [[0.0, 0.0, 0.0]]]},
        [[0.5, 0.0, 0.5]],
    ),
    "NeuronActivityMetric": (
        jsm.NeuronActivity(num_learned_features=3),
        {"learned_activations": [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]},
        1,
    ),
    "NeuronFiredCountMetric": (
        jsm.NeuronFiredCount(num_learned_features=3),
        {"learned_activations": [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]},
        [1, 0, 1],
    ),
    "L0NormMetric": (
        jsm.L0Norm(),
        {"learned_activations": [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]},
        1.5,
    ),
    "CapacityMetric orthogonal": (
        jsm.Capacity(2, 3, 1),
        {"learned_activations": [[[1.0, 0.0, 1.0]], [[0.0, 1.0, 0.0]]]},
        [[1.0, 1.0]],
    ),
    "CapacityMetric same": (
        jsm.Capacity(2, 3, 1),
        {"learned_activations": [[[1.0, 1.0, 1.0]], [[1.0, 1.0, 1.0]]]},
        [[0.5, 0.5]],
    ),
    "L1AbsoluteLoss": (
        jsm.L1AbsoluteLoss(1),
        {"learned_activations": [[[1.0, 0.0, 1.0]], [[0.0, 1.0, 0.0]]]},
        [1.5],
    ),
    "L2ReconstructionLoss": (
        jsm.L2ReconstructionLoss(1),
        {
            "source_activations": [[[4.0, 2.0]], [[2.0, 0.0]]],
            "decoded_activations": [[[2.0, 0.0]], [[0.0, 0.0]]],
        },
        [3.0],
    ),
    "ReconstructionScoreMetric": (
        jsm.ReconstructionScore(num_components=1),
        {
            "source_model_loss": [2.0, 2.0, 2.0],
            "source_model_loss_with_reconstruction": [3.0, 3.0, 3.0],
            "source_model_loss_with_zero_ablation": [5.0, 5.0, 5.0],
        },
        [2 / 3],
    ),
}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_documented_examples_of_the_torch_version(name):
    metric, inputs, expected = DOCUMENTED[name]
    inputs = {key: np.asarray(value, np.float32) for key, value in inputs.items()}
    _, value = metric.forward(metric.init(), **inputs)
    assert value.shape == np.shape(expected)
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_capacities_of_the_torch_versions_documentation():
    orthogonal = np.eye(3, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(jsm.capacities(orthogonal), [[1.0, 1.0, 1.0]])
