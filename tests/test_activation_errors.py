"""Standard errors per learned feature, against the spread of resampled data."""

import numpy as np
import pytest

import jax_sae_metrics as jsm

BOOTSTRAPPED = {
    "FeatureDensity": (jsm.FeatureDensity(4), lambda f: (f > 0).mean(0)),
    "ActivationStatistics": (
        jsm.ActivationStatistics(4),
        lambda f: (f * (f > 0)).sum(0) / (f > 0).sum(0),
    ),
}


@pytest.mark.parametrize("name", BOOTSTRAPPED)
def test_standard_errors_are_the_spread_of_resampled_data(name):
    metric, value_of = BOOTSTRAPPED[name]
    rng = np.random.default_rng(0)
    size = 800
    activations = (rng.normal(1, 1, (size, 4)) * (rng.random((size, 4)) < 0.5)).astype(np.float32)
    state = metric.update(metric.init(), learned_activations=activations)
    error = metric.standard_error(state)
    if name == "ActivationStatistics":
        assert error.keys() == {"mean_when_active"}
        error = error["mean_when_active"]
    resampled = [value_of(activations[rng.integers(0, size, size)]) for _ in range(2000)]
    np.testing.assert_allclose(error, np.std(resampled, axis=0), rtol=0.08)
