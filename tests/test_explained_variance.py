"""Variances of activations far from zero, of a few vectors, of outliers and of constants."""

import numpy as np
import pytest

import jax_sae_metrics as jsm
from cases_reconstruction import explained, legacy
from reconstructions import (
    ORACLES,
    assert_all_close,
    compute,
    explained_variance,
    noisy,
    run,
    update,
    value_of,
)
from selection import all_of


@pytest.mark.parametrize("mean", [1000, 1e4])
@pytest.mark.parametrize(
    "cut", all_of([[], [1, 7, 1000]], by_default=[[1, 7, 1000]]), ids=["whole", "cut up"]
)
def test_a_large_mean_costs_no_digits(cut, mean):
    batch = noisy(3000, [mean, mean + 1, -mean, mean])
    batches = zip(*(np.split(array, cut) for array in batch), strict=True)
    metrics = jsm.MetricCollection(
        {name: jsm.ExplainedVariance(4, definition=name) for name in ORACLES}
    )
    exact = [array.astype(float) for array in batch]
    expected = {name: oracle(*exact) for name, oracle in ORACLES.items()}
    assert_all_close(compute(metrics, *batches), expected, rtol=3e-6)


@pytest.mark.parametrize("kept", [slice(-3, None), slice(-1000, None), slice(1234, 1240)])
@pytest.mark.parametrize("elsewhere", [np.nan, 1e30, 0.0])
def test_a_mask_leaves_a_few_vectors(kept, elsewhere):
    source, decoded = noisy(4096, [1000, 1e4])
    mask = np.zeros(4096, bool)
    mask[kept] = True
    exact = explained(source[mask].astype(float), decoded[mask].astype(float))
    source[~mask], decoded[~mask] = elsewhere, -elsewhere
    value = compute(jsm.ExplainedVariance(2), (source, decoded, mask))
    np.testing.assert_allclose(value, exact, rtol=1e-5)


@pytest.mark.parametrize("place", [0, 1, 4095])
def test_an_outlier_costs_no_digits(place):
    """The centre is taken from some vectors: the first is among them, the other two are not."""
    source, decoded = noisy(4096, [1000, 0])
    source[place] += 3000
    exact = 1 - explained(source.astype(float), decoded.astype(float))
    assert exact > 0.1  # the outlier is not reconstructed
    value = compute(jsm.FractionVarianceUnexplained(2), (source, decoded))
    np.testing.assert_allclose(value, exact, rtol=1e-5)
    decoded[place] += 3000
    exact = 1 - explained(source.astype(float), decoded.astype(float))
    value = compute(jsm.FractionVarianceUnexplained(2), (source, decoded))
    np.testing.assert_allclose(value, exact, rtol=1e-5)


def test_severity_of_large_means():
    source, _ = noisy(3000, [1e4, 1000, 0])
    metric = jsm.OutlierSeverity(3)
    state = metric.init()
    for batch in np.split(source, [1, 7, 1000]):
        state = update(metric, state, {"source_activations": batch})
    exact = source.astype(float)
    expected = np.linalg.norm(exact.mean(0)) / np.linalg.norm(exact.std(0))
    np.testing.assert_allclose(value_of(metric, state), expected, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("mean", [1000, 1e4])
def test_a_large_mean_costs_the_legacy_form_no_digits(mean):
    batch = noisy(300, [mean, -mean, 0])
    total, count = legacy(*(array.astype(float) for array in batch))
    value = compute(jsm.LegacyExplainedVariance(), batch)
    np.testing.assert_allclose(value, total / count, rtol=1e-5)


@pytest.mark.parametrize("size", [1, 5])
def test_constant_activations_have_no_variance_to_explain(size):
    source = np.full((10, 2), 1000.1)
    batches = [np.split(array, 10 // size) for array in (source, source + 1)]
    perfect = zip(batches[0], batches[0], strict=True)
    assert np.isnan(compute(jsm.ExplainedVariance(2), *perfect))
    for metric, expected in {
        jsm.ExplainedVariance(2): -np.inf,
        explained_variance("per_dimension_mean"): -np.inf,
        jsm.FractionVarianceUnexplained(2): np.inf,
    }.items():
        assert compute(metric, *zip(*batches, strict=True)) == expected
    legacy = jsm.LegacyExplainedVariance()
    state = run(legacy, *zip(*batches, strict=True))
    assert np.isnan(legacy.compute(state))
    assert legacy.num_skipped(state) == 10


def test_one_constant_input_feature_is_enough_to_undo_a_mean_over_them():
    source, decoded = noisy(20, [0, 0])
    source[:, 1] = decoded[:, 1] = 7
    assert np.isnan(compute(explained_variance("per_dimension_mean"), (source, decoded)))
    assert np.isnan(compute(explained_variance("squared_correlation"), (source, decoded)))
    assert 0 < compute(explained_variance("pooled"), (source, decoded)) < 1


@pytest.mark.parametrize(("scale", "digits"), [(-1.0, 6), (1e-3, 4), (1e3, 4)])
def test_a_correlation_is_blind_to_scale(scale, digits):
    source, decoded = noisy(3000, [0, 1])
    decoded = np.float32(scale) * decoded
    exact = ORACLES["squared_correlation"](source.astype(float), decoded.astype(float))
    value = compute(explained_variance("squared_correlation"), (source, decoded))
    np.testing.assert_allclose(value, exact, rtol=10.0**-digits)


@pytest.mark.parametrize("definition", ["uncentered", "squared_correlation"])
def test_a_mean_that_is_not_read_is_refused(definition):
    source, decoded = noisy(4, [0, 1])
    inputs = {"source_activations": source, "decoded_activations": decoded}
    metric = explained_variance(definition)
    with pytest.raises(TypeError, match="source_mean: unknown input"):
        metric.update(metric.init(), source_mean=source.mean(0), **inputs)


def test_single_vectors_have_a_variance_and_no_error_bar():
    batch = noisy(50, [1000, 0])
    metric = jsm.ExplainedVariance(2)
    state = run(metric, *zip(*(np.split(array, 50) for array in batch), strict=True))
    exact = explained(*(array.astype(float) for array in batch))
    np.testing.assert_allclose(metric.compute(state), exact, rtol=1e-5)
    assert np.isnan(metric.standard_error(state))


@pytest.mark.parametrize(
    "definition",
    [
        "residual_variance",
        "scalar_mean",
        "total_variance",
        "per_dimension_mean",
        "squared_correlation",
    ],
)
def test_other_definitions_have_no_error_bar(definition):
    metric = explained_variance(definition)
    with pytest.raises(TypeError, match="no standard error"):
        metric.standard_error(metric.init())
