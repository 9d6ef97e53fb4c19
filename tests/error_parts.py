"""Means and ratios of sums as numerators and denominators of each item, in float64."""

import numpy as np

import jax_sae_metrics as jsm
from cases_fidelity import kl_divergence
from cases_reconstruction import norm
from metric_case import LEARNED, LOGITS, LOSSES, NUM_INPUT_FEATURES, RECONSTRUCTION

MEAN_ABLATED = "average='mean_of_ratios'"


def squared(vectors):
    return (vectors**2).sum(-1)


def hoyer(codes):
    root = codes.shape[-1] ** 0.5
    return (root - abs(codes).sum(-1) / norm(codes)) / (root - 1)


def about_mean(vectors, mask):
    return squared(vectors - vectors[mask].mean(0))


# How the metric is built, what it reads, and (a, b) of each item for each result, from the inputs
# and the mask over items. A mean has no b.
PARTS = {
    "L0Norm": (jsm.L0Norm, LEARNED, lambda f, mask: ((f != 0).sum(-1),)),
    "L1AbsoluteLoss": (jsm.L1AbsoluteLoss, LEARNED, lambda f, mask: (abs(f).sum(-1),)),
    "SparseAutoencoderLoss": (
        lambda c, **options: jsm.SparseAutoencoderLoss(0.5, c, **options),
        (*RECONSTRUCTION, *LEARNED),
        lambda x, y, f, mask: (squared(x - y) / NUM_INPUT_FEATURES + 0.5 * abs(f).sum(-1),),
    ),
    "L2ReconstructionLoss": (
        lambda c, **options: jsm.L2ReconstructionLoss(c, reduction="sum", **options),
        RECONSTRUCTION,
        lambda x, y, mask: (squared(x - y),),
    ),
    "ExplainedVariance": (
        lambda c, **options: jsm.ExplainedVariance(NUM_INPUT_FEATURES, c, **options),
        RECONSTRUCTION,
        lambda x, y, mask: (squared(x - y), about_mean(x, mask)),
    ),
    "ExplainedVariance uncentered": (
        lambda c, **options: jsm.ExplainedVariance(NUM_INPUT_FEATURES, c, "uncentered", **options),
        RECONSTRUCTION,
        lambda x, y, mask: (squared(x - y), squared(x)),
    ),
    "FractionVarianceUnexplained": (
        lambda c, **options: jsm.FractionVarianceUnexplained(NUM_INPUT_FEATURES, c, **options),
        RECONSTRUCTION,
        lambda x, y, mask: (squared(x - y), about_mean(x, mask)),
    ),
    "LegacyExplainedVariance": (
        jsm.LegacyExplainedVariance,
        RECONSTRUCTION,
        lambda x, y, mask: (squared(x - y) / about_mean(x, mask),),
    ),
    "HoyerSparsity": (jsm.HoyerSparsity, LEARNED, lambda f, mask: (hoyer(f),)),
    "NormalizedL1": (
        jsm.NormalizedL1,
        (*LEARNED, "source_activations"),
        lambda f, x, mask: (abs(f).sum(-1) / norm(x),),
    ),
    "NormalizedMSE": (
        jsm.NormalizedMSE,
        RECONSTRUCTION,
        lambda x, y, mask: (squared(x - y) / squared(x),),
    ),
    "CosineSimilarity": (
        jsm.CosineSimilarity,
        RECONSTRUCTION,
        lambda x, y, mask: ((x * y).sum(-1) / norm(x) / norm(y),),
    ),
    "L2Norm": (
        jsm.L2Norm,
        RECONSTRUCTION,
        lambda x, y, mask: {"source": (norm(x),), "decoded": (norm(y),), "error": (norm(x - y),)},
    ),
    "L2NormRatio": (jsm.L2NormRatio, RECONSTRUCTION, lambda x, y, mask: (norm(y) / norm(x),)),
    "RelativeReconstructionBias": (
        jsm.RelativeReconstructionBias,
        RECONSTRUCTION,
        lambda x, y, mask: (squared(y), (x * y).sum(-1)),
    ),
    "MeanOf": (
        lambda c, **options: jsm.MeanOf("source_model_loss", c, **options),
        LOSSES[:1],
        lambda clean, mask: (clean,),
    ),
    "LossIncrease": (
        jsm.LossIncrease,
        LOSSES[:2],
        lambda clean, reconstructed, mask: (reconstructed - clean,),
    ),
    "ModelLoss": (
        jsm.ModelLoss,
        LOSSES,
        lambda clean, reconstructed, ablated, mask: {
            "source": (clean,),
            "with_reconstruction": (reconstructed,),
            "with_zero_ablation": (ablated,),
        },
    ),
    "ReconstructionScore": (
        jsm.ReconstructionScore,
        LOSSES,
        lambda clean, reconstructed, ablated, mask: (ablated - reconstructed, ablated - clean),
    ),
    "ReconstructionScore mean_of_ratios": (
        lambda c, **options: jsm.ReconstructionScore(c, "mean_of_ratios", **options),
        LOSSES,
        lambda clean, reconstructed, ablated, mask: (
            (ablated - reconstructed) / (ablated - clean),
        ),
    ),
    "KLDivergenceScore": (
        jsm.KLDivergenceScore,
        LOGITS,
        lambda clean, reconstructed, ablated, mask: {
            "with_reconstruction": (kl_divergence(clean, reconstructed),),
            "with_zero_ablation": (kl_divergence(clean, ablated),),
            "score": (kl_divergence(clean, reconstructed), kl_divergence(clean, ablated)),
        },
    ),
    "TopOneAgreement": (
        jsm.TopOneAgreement,
        LOGITS[:2],
        lambda clean, reconstructed, mask: (
            (clean.argmax(-1) == reconstructed.argmax(-1)).astype(float),
        ),
    ),
    # To first order, the error of the logarithm is the relative error: see `EXPONENTIAL`.
    "PerplexityWithReconstruction": (
        jsm.PerplexityWithReconstruction,
        LOSSES[1:2],
        lambda reconstructed, mask: (reconstructed,),
    ),
}
EXPONENTIAL = {"PerplexityWithReconstruction"}


def units_of(parts, mask, clusters):
    """Numerators and denominators of each unit, `[unit]`, and of units that are masked out."""
    a, b = parts if len(parts) > 1 else (parts[0], np.ones_like(parts[0]))
    a, b = (np.where(mask, each, 0) for each in (a, b))
    if clusters == "prompts":
        return a.sum(1), b.sum(1)
    return a.ravel(), b.ravel()


def covariance_of(units):
    """The covariance of ratios of sums, from a pair of arrays `[unit]` for each component."""
    residuals = np.stack([a - a.sum() / b.sum() * b for a, b in units])
    totals = np.array([b.sum() for _, b in units])
    num_units = np.array([np.count_nonzero(b) for _, b in units])
    correction = np.sqrt(num_units / (num_units - 1))
    scaled = residuals * (correction / totals)[:, None]
    return scaled @ scaled.T


def parts_by_name(name, arrays, mask):
    """The parts of a metric by the names of its results; "" if it has one."""
    with np.errstate(invalid="ignore"):
        parts = PARTS[name][2](*arrays, mask)
    return parts if isinstance(parts, dict) else {"": parts}
