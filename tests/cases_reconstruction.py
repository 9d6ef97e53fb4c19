"""Cases of metrics of source and decoded activations. See `metric_case.py`."""

import numpy as np

import jax_sae_metrics as jsm
from metric_case import NUM_INPUT_FEATURES, RECONSTRUCTION, MetricCase


def norm(vectors):
    return np.sqrt((vectors**2).sum(-1))


def explained(x, y):
    return 1 - ((x - y) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()


def legacy(x, y):
    of_vectors = 1 - norm(x - y) ** 2 / norm(x - x.mean(0)) ** 2
    return of_vectors.sum(), len(x)


DEFINITIONS = {
    "uncentered": lambda x, y: 1 - ((x - y) ** 2).sum() / (x**2).sum(),
    "residual_variance": lambda x, y: 1 - (x - y).var(0).sum() / x.var(0).sum(),
    "scalar_mean": lambda x, y: 1 - ((x - y) ** 2).mean() / x.var(),
    "total_variance": lambda x, y: 1 - (x - y).var() / x.var(),
    "per_dimension_mean": lambda x, y: np.mean(1 - ((x - y) ** 2).mean(0) / x.var(0)),
    "squared_correlation": lambda x, y: np.mean(
        ((x - x.mean(0)) * (y - y.mean(0))).mean(0) ** 2 / (x.var(0) * y.var(0))
    ),
}

# A few units in the last place of what is subtracted from 1, however close the result is to 0.
ROUNDING = 5e-7


def ratio_of_sums_of_parts(parts):
    numerator, denominator = (sum(part) for part in zip(*filter(None, parts), strict=True))
    return numerator / denominator


CASES = [
    MetricCase(
        "ExplainedVariance",
        lambda c: jsm.ExplainedVariance(NUM_INPUT_FEATURES, c),
        RECONSTRUCTION,
        explained,
        np.nan,
        atol=ROUNDING,
    ),
    *(
        MetricCase(
            f"ExplainedVariance {definition}",
            lambda c, definition=definition: jsm.ExplainedVariance(
                NUM_INPUT_FEATURES, c, definition
            ),
            RECONSTRUCTION,
            oracle,
            np.nan,
            atol=ROUNDING,
        )
        for definition, oracle in DEFINITIONS.items()
    ),
    MetricCase(
        "FractionVarianceUnexplained",
        lambda c: jsm.FractionVarianceUnexplained(NUM_INPUT_FEATURES, c),
        RECONSTRUCTION,
        lambda x, y: 1 - explained(x, y),
        np.nan,
    ),
    MetricCase(
        "LegacyExplainedVariance",
        jsm.LegacyExplainedVariance,
        RECONSTRUCTION,
        legacy,
        np.nan,
        atol=ROUNDING,
        of_batches=ratio_of_sums_of_parts,
    ),
    MetricCase(
        "NormalizedMSE",
        jsm.NormalizedMSE,
        RECONSTRUCTION,
        lambda x, y: (norm(x - y) ** 2 / norm(x) ** 2).mean(),
        np.nan,
    ),
    MetricCase(
        "L2Norm",
        jsm.L2Norm,
        RECONSTRUCTION,
        lambda x, y: {
            "source": norm(x).mean(),
            "decoded": norm(y).mean(),
            "error": norm(x - y).mean(),
        },
        np.nan,
    ),
    MetricCase(
        "L2NormRatio",
        jsm.L2NormRatio,
        RECONSTRUCTION,
        lambda x, y: (norm(y) / norm(x)).mean(),
        np.nan,
    ),
    MetricCase(
        "CosineSimilarity",
        jsm.CosineSimilarity,
        RECONSTRUCTION,
        lambda x, y: ((x * y).sum(-1) / norm(x) / norm(y)).mean(),
        np.nan,
    ),
    MetricCase(
        "RelativeReconstructionBias",
        jsm.RelativeReconstructionBias,
        RECONSTRUCTION,
        lambda x, y: (y**2).sum() / (x * y).sum(),
        np.nan,
    ),
    MetricCase(
        "OutlierSeverity",
        lambda c: jsm.OutlierSeverity(NUM_INPUT_FEATURES, c),
        ("source_activations",),
        lambda x: norm(x.mean(0)) / norm(x.std(0)),
        np.nan,
    ),
]
