"""Standard errors of metrics of reconstructions: the formula, and the bootstrap."""

import jax
import numpy as np
import pytest

import jax_sae_metrics as jsm
from cases_reconstruction import norm
from reconstructions import (
    BY_NAME,
    assert_all_close,
    explained_variance,
    run,
)
from selection import all_of

# Numerator and denominator of each vector.
PARTS = {
    "ExplainedVariance": lambda x, y: (norm(x - y) ** 2, norm(x - x.mean(0)) ** 2),
    "ExplainedVariance uncentered": lambda x, y: (norm(x - y) ** 2, norm(x) ** 2),
    "FractionVarianceUnexplained": lambda x, y: (norm(x - y) ** 2, norm(x - x.mean(0)) ** 2),
    "LegacyExplainedVariance": lambda x, y: (norm(x - y) ** 2 / norm(x - x.mean(0)) ** 2, 1),
    "NormalizedMSE": lambda x, y: (norm(x - y) ** 2 / norm(x) ** 2, 1),
    "L2Norm/source": lambda x, y: (norm(x), 1),
    "L2Norm/decoded": lambda x, y: (norm(y), 1),
    "L2Norm/error": lambda x, y: (norm(x - y), 1),
    "L2NormRatio": lambda x, y: (norm(y) / norm(x), 1),
    "CosineSimilarity": lambda x, y: ((x * y).sum(-1) / norm(x) / norm(y), 1),
    "RelativeReconstructionBias": lambda x, y: (norm(y) ** 2, (x * y).sum(-1)),
}
WITH_ERROR_BARS = {name.partition("/")[0] for name in PARTS}


def draw(num_vectors):
    """Draw vectors of different lengths and errors, none close to zero or to the mean."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(num_vectors, 4)) * rng.uniform(0.7, 1.4, size=(num_vectors, 1))
    x[:, 0] = 1.5 + np.sign(x[:, 0]) * (1 + abs(x[:, 0]))
    y = 0.9 * x + 0.3 * rng.normal(size=x.shape) * rng.uniform(0.5, 1.5, size=(num_vectors, 1))
    return x.astype(np.float32).astype(float), y.astype(np.float32).astype(float)


def error_bars(*batches):
    metrics = jsm.MetricCollection({name: BY_NAME[name].build(None) for name in WITH_ERROR_BARS})
    return jax.jit(metrics.standard_error)(run(metrics, *batches))


def test_standard_errors_are_the_formula():
    # The centre is taken from all of these few vectors: it is their mean.
    batch = draw(64)
    expected = {}
    for name, parts in PARTS.items():
        a, b = np.broadcast_arrays(*parts(*batch))
        residuals = a - a.sum() / b.sum() * b
        expected[name] = np.sqrt(64 / 63 * (residuals**2).sum()) / abs(b.sum())
    assert_all_close(error_bars(batch), expected, rtol=1e-4)


@pytest.mark.parametrize(
    "cut", all_of([[], [200, 400]], by_default=[[200, 400]]), ids=["whole", "cut up"]
)
def test_standard_errors_are_those_of_the_bootstrap(cut):
    """The bootstrap draws vectors again, with replacement, 2000 times."""
    batch = draw(600)
    rng = np.random.default_rng(2)
    values = {name: [] for name in PARTS}
    for _ in range(2000):
        drawn = rng.integers(600, size=600)
        again = [array[drawn] for array in batch]
        for name, parts in PARTS.items():
            a, b = np.broadcast_arrays(*parts(*again))
            values[name].append(a.sum() / b.sum())
    expected = {name: np.std(value) for name, value in values.items()}
    batches = zip(*(np.split(array, cut) for array in batch), strict=True)
    assert_all_close(error_bars(*batches), expected, rtol=0.07)


@pytest.mark.parametrize("definition", ["residual_variance", "scalar_mean", "per_dimension_mean"])
def test_other_definitions_have_no_error_bar(definition):
    metric = explained_variance(definition)
    with pytest.raises(TypeError, match="no standard error"):
        metric.standard_error(metric.init())
