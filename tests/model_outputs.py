"""Losses and logits drawn for the tests, metrics run over them, and the divergence in float64."""

import jax
import numpy as np
from scipy.special import log_softmax

from metric_case import LOGITS, LOSSES


def run(metric, *batches):
    """The state after some batches."""
    state, update = metric.init(), jax.jit(metric.update)
    for batch in batches:
        state = update(state, **batch)
    return state


def compute(metric, *batches):
    return metric.compute(run(metric, *batches))


def draw_logits(*shape, noise=(0.5, 2.0), seed=0):
    rng = np.random.default_rng(seed)
    clean = rng.normal(0, 3, shape)
    arrays = [clean, *(clean + rng.normal(0, scale, shape) for scale in noise)]
    return dict(zip(LOGITS, (array.astype(np.float32) for array in arrays), strict=True))


def draw_losses(*shape, seed=0):
    """Losses that rise and fall together, as the losses of one text do."""
    rng = np.random.default_rng(seed)
    clean = rng.gamma(4, 0.5, shape)
    reconstructed = clean + rng.gamma(2, 0.1, shape)
    ablated = reconstructed + rng.gamma(4, 0.5, shape)
    arrays = (clean, reconstructed, ablated)
    return dict(zip(LOSSES, (array.astype(np.float32) for array in arrays), strict=True))


def kl_divergence(clean, intervened):
    """The divergence of each item, in float64."""
    log_p, log_q = (log_softmax(np.asarray(x, np.float64), axis=-1) for x in (clean, intervened))
    difference = log_p - log_q
    return (np.exp(log_p) * (difference + np.expm1(-difference))).sum(-1)
