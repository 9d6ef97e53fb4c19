"""Metrics of inputs of any name, with their oracles."""

import numpy as np

import jax_sae_metrics as jsm
from metric_case import LOSSES, RECONSTRUCTION, MetricCase

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
CASES += [
    # Its values are tested in test_nonfinite.py: the inputs of all cases are finite.
    MetricCase(
        "Nonfinite",
        lambda c: jsm.Nonfinite("source_activations", c),
        RECONSTRUCTION[:1],
        lambda x: np.sum(~np.isfinite(x).all(-1)),
        0,
    )
]
