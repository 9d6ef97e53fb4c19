"""Every public metric with inputs and an independent float64 oracle."""

import numpy as np

import cases_activations
import cases_fidelity
import cases_named_inputs
import cases_reconstruction
import jax_sae_metrics as jsm
from metric_case import (
    LEARNED,
    LOSSES,
    NUM_LEARNED_FEATURES,
    RECONSTRUCTION,
    TRUE,
    MetricCase,
)

CAPACITY = 600


def density(learned_activations):
    return (learned_activations > 0).mean(0)


def squared_error(source_activations, decoded_activations):
    return ((source_activations - decoded_activations) ** 2).mean(-1)


def capacity(learned_activations):
    dots = learned_activations @ learned_activations.T
    with np.errstate(invalid="ignore"):  # a zero vector has none
        own = np.diag(dots) ** 2 / (dots**2).sum(1)
    return np.concatenate([own, np.full(CAPACITY - len(own), np.nan)])


def ratio_of_sums(clean, reconstructed, ablated):
    return (ablated.sum() - reconstructed.sum()) / (ablated.sum() - clean.sum())


def sae_loss(source_activations, decoded_activations, learned_activations):
    l2 = squared_error(source_activations, decoded_activations)
    return (l2 + 0.03 * np.abs(learned_activations).sum(-1)).mean()


def or_zero(part, whole):
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0).mean()


def classification(learned_activations, true_activations):
    says, is_true = learned_activations != 0, true_activations > 0
    right, num_said, num_true, num_same = (
        x.sum(0, dtype=float) for x in (says & is_true, says, is_true, says == is_true)
    )
    return {
        "precision": or_zero(right, num_said),
        "recall": or_zero(right, num_true),
        "f1": or_zero(2 * right, num_said + num_true),
        "accuracy": num_same.mean() / len(learned_activations),
    }


LEAF_CASES = [
    MetricCase(
        "LatentClassification",
        lambda c: jsm.LatentClassification(NUM_LEARNED_FEATURES, c),
        LEARNED + TRUE,
        classification,
        np.nan,
    ),
    MetricCase(
        "FeatureDensity",
        lambda c: jsm.FeatureDensity(NUM_LEARNED_FEATURES, c),
        LEARNED,
        density,
        np.nan,
    ),
    MetricCase(
        "FeatureDensity threshold",
        lambda c: jsm.FeatureDensity(NUM_LEARNED_FEATURES, c, threshold=0.5),
        LEARNED,
        lambda f: (f > 0.5).mean(0),
        np.nan,
    ),
    MetricCase(
        "NeuronFiredCount",
        lambda c: jsm.NeuronFiredCount(NUM_LEARNED_FEATURES, c),
        LEARNED,
        lambda f: (f > 0).sum(0),
        0,
    ),
    MetricCase(
        "NeuronActivity",
        lambda c: jsm.NeuronActivity(NUM_LEARNED_FEATURES, c, threshold_is_dead_portion_fires=0.4),
        LEARNED,
        lambda f: (density(f) <= 0.4).sum(),
        0,
    ),
    MetricCase("L0Norm", jsm.L0Norm, LEARNED, lambda f: (f != 0).sum(-1).mean(), np.nan),
    MetricCase(
        "Capacity",
        lambda c: jsm.Capacity(CAPACITY, NUM_LEARNED_FEATURES, c),
        LEARNED,
        capacity,
        np.nan,
        ordered=False,
    ),
    MetricCase(
        "L1AbsoluteLoss", jsm.L1AbsoluteLoss, LEARNED, lambda f: np.abs(f).sum(-1).mean(), np.nan
    ),
    MetricCase(
        "L2ReconstructionLoss",
        jsm.L2ReconstructionLoss,
        RECONSTRUCTION,
        lambda x, y: squared_error(x, y).mean(),
        np.nan,
    ),
    MetricCase(
        "L2ReconstructionLoss sum",
        lambda c: jsm.L2ReconstructionLoss(c, reduction="sum"),
        RECONSTRUCTION,
        lambda x, y: ((x - y) ** 2).sum(-1).mean(),
        np.nan,
    ),
    MetricCase(
        "SparseAutoencoderLoss",
        lambda c: jsm.SparseAutoencoderLoss(0.03, c),
        (*RECONSTRUCTION, *LEARNED),
        sae_loss,
        np.nan,
    ),
    MetricCase("ReconstructionScore", jsm.ReconstructionScore, LOSSES, ratio_of_sums, np.nan),
    MetricCase(
        "ReconstructionScore mean_of_ratios",
        lambda c: jsm.ReconstructionScore(c, average="mean_of_ratios"),
        LOSSES,
        lambda clean, recon, zero: ((zero - recon) / (zero - clean)).mean(),
        np.nan,
    ),
]
LEAF_CASES += cases_activations.CASES + cases_fidelity.CASES + cases_reconstruction.CASES
LEAF_CASES += cases_named_inputs.CASES
_BY_NAME = {case.name: case for case in LEAF_CASES}


def moving_average(values, decay=0.25):
    weights = decay ** np.arange(len(values))[::-1]
    known = [(weight, value) for weight, value in zip(weights, values, strict=True) if value]
    return sum(w * v for w, v in known) / sum(w for w, _ in known)


COMBINED_CASES = [
    MetricCase(
        "MovingAverage",
        lambda c: jsm.MovingAverage(jsm.L0Norm(c), decay=0.25),
        LEARNED,
        _BY_NAME["L0Norm"].oracle,
        np.nan,
        of_batches=moving_average,
    ),
    MetricCase(
        "Window",
        lambda c: jsm.Window(jsm.FeatureDensity(NUM_LEARNED_FEATURES, c), 1000, num_parts=2),
        LEARNED,
        density,
        np.nan,
    ),
    MetricCase(
        "Renamed",
        lambda c: jsm.Renamed(
            jsm.NormalizedMSE(c),
            source_activations="decoded_activations",
            decoded_activations="source_activations",
        ),
        RECONSTRUCTION,
        lambda source, decoded: _BY_NAME["NormalizedMSE"].oracle(decoded, source),
        np.nan,
    ),
    MetricCase(
        "PerComponent",
        lambda c: jsm.PerComponent(jsm.L0Norm(c), tuple("abc"[:c]), "l0"),
        LEARNED,
        _BY_NAME["L0Norm"].oracle,
        np.nan,
        of_components=lambda values: {
            **{f"l0/{name}": value for name, value in zip("abc", values, strict=False)},
            "l0/mean": np.mean(values),
        },
        needs_components=True,
    ),
    MetricCase(
        "MetricCollection",
        lambda c: jsm.MetricCollection(
            {
                "density": jsm.FeatureDensity(NUM_LEARNED_FEATURES, c),
                "l0": jsm.L0Norm(c),
                "losses": jsm.MetricCollection({"score": jsm.ReconstructionScore(c)}),
            }
        ),
        (*LEARNED, *LOSSES),
        lambda f, *losses: {
            "density": density(f),
            "l0": _BY_NAME["L0Norm"].oracle(f),
            "losses/score": ratio_of_sums(*losses),
        },
        np.nan,
    ),
]
ALL_CASES = LEAF_CASES + COMBINED_CASES
# Each metric with its defaults; options change numbers, not how it runs.
DEFAULT_CASES = [case for case in ALL_CASES if case.name in vars(jsm)]
