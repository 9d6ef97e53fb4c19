"""Metrics of inputs of any name, with their oracles."""

import numpy as np

import jax_sae_metrics as jsm
from metric_case import LOSSES, MetricCase

CASES = [
    MetricCase(
        metric.__name__,
        lambda c, metric=metric: metric("source_model_loss", c),
        LOSSES[:1],
        oracle,
        np.nan,
    )
    for metric, oracle in ((jsm.MeanOf, np.mean), (jsm.MaxOf, np.max), (jsm.MinOf, np.min))
]
