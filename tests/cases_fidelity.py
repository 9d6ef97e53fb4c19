"""Metrics of how well the model survives its reconstructed activations, with their oracles."""

import numpy as np
from scipy.special import log_softmax

import jax_sae_metrics as jsm
from metric_case import LOGITS, LOGITS_OF_MEANS, LOSS_OF_MEANS, LOSSES, MetricCase


def model_loss(clean, reconstructed, ablated, ablation="zero"):
    return {
        "source": clean.mean(),
        "with_reconstruction": reconstructed.mean(),
        f"with_{ablation}_ablation": ablated.mean(),
    }


def kl_divergence(clean, intervened):
    log_p, log_q = log_softmax(clean, -1), log_softmax(intervened, -1)
    return (np.exp(log_p) * (log_p - log_q)).sum(-1)


def kl_divergence_score(clean, reconstructed, ablated, ablation="zero"):
    moved, moved_most = kl_divergence(clean, reconstructed), kl_divergence(clean, ablated)
    return {
        "with_reconstruction": moved.mean(),
        f"with_{ablation}_ablation": moved_most.mean(),
        "score": (moved_most.sum() - moved.sum()) / moved_most.sum(),
    }


CASES = [
    MetricCase(
        "LossIncrease",
        jsm.LossIncrease,
        LOSSES[:2],
        lambda clean, reconstructed: (reconstructed - clean).mean(),
        np.nan,
    ),
    MetricCase("ModelLoss", jsm.ModelLoss, LOSSES, model_loss, np.nan),
    MetricCase(
        "ModelLoss mean ablation",
        lambda c: jsm.ModelLoss(c, ablation="mean"),
        (*LOSSES[:2], *LOSS_OF_MEANS),
        lambda *losses: model_loss(*losses, ablation="mean"),
        np.nan,
    ),
    MetricCase(
        "ReconstructionScore mean ablation",
        lambda c: jsm.ReconstructionScore(c, ablation="mean"),
        (*LOSSES[:2], *LOSS_OF_MEANS),
        lambda clean, reconstructed, ablated: (
            (ablated - reconstructed).sum() / (ablated - clean).sum()
        ),
        np.nan,
    ),
    MetricCase(
        "PerplexityWithReconstruction",
        jsm.PerplexityWithReconstruction,
        LOSSES[1:2],
        lambda reconstructed: np.exp(reconstructed.mean()),
        np.nan,
        rtol=1e-5,  # an exponential multiplies relative errors
    ),
    MetricCase(
        "KLDivergenceScore",
        jsm.KLDivergenceScore,
        LOGITS,
        kl_divergence_score,
        np.nan,
        rtol=1e-4,  # the score of unrelated logits is the small difference of two similar sums
    ),
    MetricCase(
        "KLDivergenceScore mean ablation",
        lambda c: jsm.KLDivergenceScore(c, ablation="mean"),
        (*LOGITS[:2], *LOGITS_OF_MEANS),
        lambda *logits: kl_divergence_score(*logits, ablation="mean"),
        np.nan,
        rtol=1e-4,
    ),
    MetricCase(
        "TopOneAgreement",
        jsm.TopOneAgreement,
        LOGITS[:2],
        lambda clean, reconstructed: (clean.argmax(-1) == reconstructed.argmax(-1)).mean(),
        np.nan,
    ),
]
