"""Metrics of the learned activations alone: how many, how large, how often, how long ago."""

import numpy as np

import jax_sae_metrics as jsm
from metric_case import IDS, LEARNED, NUM_LEARNED_FEATURES, MetricCase

QUANTILES = (0.0, 0.05, 0.5, 0.9, 1.0)
EDGES = (0.1, 0.5, 1.0, 2.0)
AFTER_TOKENS = (1, 2, 4)


def l0_histogram(learned_activations):
    l0 = np.count_nonzero(learned_activations, axis=-1)
    return {
        "histogram": np.array([np.sum(l0 == n) for n in range(NUM_LEARNED_FEATURES + 1)]),
        "quantiles": np.quantile(l0, QUANTILES, method="inverted_cdf"),
    }


def hoyer_sparsity(learned_activations):
    f = learned_activations[learned_activations.any(-1)]
    root = np.sqrt(f.shape[-1])
    return ((root - np.abs(f).sum(-1) / np.sqrt((f**2).sum(-1))) / (root - 1)).mean()


def activation_statistics(learned_activations, threshold=0.0):
    by_feature = [f[f > threshold] for f in learned_activations.T]
    edges = (-np.inf, *EDGES, np.inf)
    return {
        "mean_when_active": np.array([f.mean() if f.size else np.nan for f in by_feature]),
        "second_moment": (learned_activations**2).mean(0),
        "max": np.array([f.max() if f.size else np.nan for f in by_feature]),
        "min_when_active": np.array([f.min() if f.size else np.nan for f in by_feature]),
        "histogram": np.array([np.histogram(f, edges)[0] for f in by_feature]),
    }


def consistent_activation_heuristic(learned_activations, mask):
    fires = (learned_activations > 0) & mask[..., None]
    num_prompts = sum(prompt.any(0).astype(int) for prompt in fires)
    with np.errstate(invalid="ignore"):
        return fires.sum((0, 1)) / num_prompts


def share(num_fired, of_these):
    return num_fired[of_these].sum() / num_fired.sum() if num_fired.any() else np.nan


def density_statistics(learned_activations):
    num_fired = (learned_activations > 0).sum(0)
    density = num_fired / len(learned_activations)
    alive = density[density > 0]
    # Half decades, the first of which ends at 1e-8; 1 belongs to the one below it.
    half_decade = np.clip(np.floor(2 * np.log10(alive) + 1e-9) + 16, -1, 15).astype(int)
    histogram = np.bincount(half_decade + 2, minlength=18)
    histogram[0] = np.sum(density == 0)
    return {
        "histogram": histogram,
        "above_1e-1": np.sum(density > 0.1),
        "above_1e-2": np.sum(density > 0.01),
        "below_1e-5": np.sum(density < 1e-5),
        "below_1e-6": np.sum(density < 1e-6),
        "below_1e-7": np.sum(density < 1e-7),
        "share_of_firing_above_1e-1": share(num_fired, density > 0.1),
        "share_of_firing_above_1e-2": share(num_fired, density > 0.01),
        "alive_fraction": len(alive) / len(density),
    }


def dead_features(learned_activations, after_tokens=AFTER_TOKENS):
    # Read backwards, the first firing is the last one.
    ages = np.array([np.argmax([*(f[::-1] > 0), True]) for f in learned_activations.T])
    return (ages >= np.array(after_tokens)[..., None]).sum(-1)


def top_activating_examples(learned_activations, example_ids, num_examples=5):
    found = []
    for activations in learned_activations.T:
        some = [pair for pair in zip(-activations, example_ids, strict=True) if pair[0] < 0]
        found.append((sorted(some) + [(np.inf, -1)] * num_examples)[:num_examples])
    negated, ids = np.moveaxis(np.array(found), -1, 0)
    return {"activations": -negated, "example_ids": ids}


NOTHING_OF_DENSITIES = {
    "histogram": 0,
    "above_1e-1": 0,
    "above_1e-2": 0,
    "below_1e-5": 0,
    "below_1e-6": 0,
    "below_1e-7": 0,
    "share_of_firing_above_1e-1": np.nan,
    "share_of_firing_above_1e-2": np.nan,
    "alive_fraction": np.nan,
}
NOTHING_OF_ACTIVATIONS = {
    "mean_when_active": np.nan,
    "second_moment": np.nan,
    "max": np.nan,
    "min_when_active": np.nan,
    "histogram": 0,
}

CASES = [
    MetricCase(
        "L0Norm threshold",
        lambda c: jsm.L0Norm(c, threshold=0.5),
        LEARNED,
        lambda f: (np.abs(f) > 0.5).sum(-1).mean(),
        np.nan,
    ),
    MetricCase(
        "L0Norm positive",
        lambda c: jsm.L0Norm(c, absolute=False),
        LEARNED,
        lambda f: (f > 0).sum(-1).mean(),
        np.nan,
    ),
    MetricCase(
        "L0Norm positive threshold",
        lambda c: jsm.L0Norm(c, threshold=0.5, absolute=False),
        LEARNED,
        lambda f: (f > 0.5).sum(-1).mean(),
        np.nan,
    ),
    MetricCase(
        "L1AbsoluteLoss decoder_weighted",
        lambda c: jsm.L1AbsoluteLoss(c, decoder_weighted=True),
        (*LEARNED, "decoder_norms"),
        lambda f, norms: (np.abs(f) @ norms).mean(),
        np.nan,
    ),
    MetricCase("HoyerSparsity", jsm.HoyerSparsity, LEARNED, hoyer_sparsity, np.nan),
    MetricCase(
        "NormalizedL1",
        jsm.NormalizedL1,
        (*LEARNED, "source_activations"),
        lambda f, x: (np.abs(f).sum(-1) / np.linalg.norm(x, axis=-1)).mean(),
        np.nan,
    ),
    MetricCase(
        "L0Histogram",
        lambda c: jsm.L0Histogram(NUM_LEARNED_FEATURES, c, quantiles=QUANTILES),
        LEARNED,
        l0_histogram,
        {"histogram": 0, "quantiles": np.nan},
    ),
    MetricCase(
        "ActivationStatistics",
        lambda c: jsm.ActivationStatistics(NUM_LEARNED_FEATURES, c, histogram_edges=EDGES),
        LEARNED,
        activation_statistics,
        NOTHING_OF_ACTIVATIONS,
    ),
    MetricCase(
        "ActivationStatistics threshold",
        lambda c: jsm.ActivationStatistics(NUM_LEARNED_FEATURES, c, 0.7, EDGES),
        LEARNED,
        lambda f: activation_statistics(f, threshold=0.7),
        NOTHING_OF_ACTIVATIONS,
    ),
    MetricCase(
        "ActivationStatistics absolute",
        lambda c: jsm.ActivationStatistics(NUM_LEARNED_FEATURES, c, 0.7, EDGES, absolute=True),
        LEARNED,
        lambda f: activation_statistics(np.abs(f), threshold=0.7),
        NOTHING_OF_ACTIVATIONS,
    ),
    MetricCase(
        "FeatureDensity absolute",
        lambda c: jsm.FeatureDensity(NUM_LEARNED_FEATURES, c, threshold=0.5, absolute=True),
        LEARNED,
        lambda f: (np.abs(f) > 0.5).mean(0),
        np.nan,
    ),
    MetricCase(
        "ConsistentActivationHeuristic",
        lambda c: jsm.ConsistentActivationHeuristic(NUM_LEARNED_FEATURES, c),
        LEARNED,
        consistent_activation_heuristic,
        np.nan,
        needs_prompts=True,
    ),
    MetricCase(
        "FeatureDensityStatistics",
        lambda c: jsm.FeatureDensityStatistics(NUM_LEARNED_FEATURES, c),
        LEARNED,
        density_statistics,
        NOTHING_OF_DENSITIES,
    ),
    MetricCase(
        "DeadFeatures",
        lambda c: jsm.DeadFeatures(NUM_LEARNED_FEATURES, c, after_tokens=AFTER_TOKENS),
        LEARNED,
        dead_features,
        0,
        skips=("all_reduce",),  # devices went side by side: see test_last_seen.py
    ),
    MetricCase(
        "TopActivatingExamples",
        lambda c: jsm.TopActivatingExamples(NUM_LEARNED_FEATURES, 5, c),
        (*LEARNED, *IDS),
        top_activating_examples,
        {"activations": -np.inf, "example_ids": -1},
        skips=("grad",),  # of integers there is none
    ),
    MetricCase(
        "DeadFeatureFraction",
        lambda c: jsm.DeadFeatureFraction(NUM_LEARNED_FEATURES, c, 2, absolute=True),
        LEARNED,
        lambda f: dead_features(np.abs(f), 2) / NUM_LEARNED_FEATURES,
        0,
        skips=("all_reduce",),
    ),
]
