"""How well activations are reconstructed: worked cases, zeros and NaN, another tool's numbers."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_sae_metrics as jsm
from reconstructions import (
    BY_NAME,
    ORACLES,
    assert_all_close,
    compute,
    explained_variance,
    run,
    value_of,
)

DATA = pathlib.Path(__file__).parent / "data"

FIRST = np.array([[[-1, 0], [0, 2], [1, 1]], [[0, 0], [0, 2], [0.5, 1]]])
SECOND = np.array([[[2, 0], [0, 4]], [[2, 1], [0, 3]]])
# Ten vectors of equal variance: 0.1 of the first is missed, and 0.9 of the other nine.
MERGED_SOURCE = np.array([[1.0, 0], [-1, 0]] * 5)
MERGED = (MERGED_SOURCE, MERGED_SOURCE + np.sqrt([[0.1, 0]] + [[0.9, 0]] * 9))

DEFINED = {definition: explained_variance(definition) for definition in ORACLES}
WORKED_METRICS = jsm.MetricCollection(
    DEFINED
    | {
        "unexplained": jsm.FractionVarianceUnexplained(2),
        "legacy": jsm.LegacyExplainedVariance(),
        "normalized": jsm.NormalizedMSE(),
        "bias": jsm.RelativeReconstructionBias(),
        "sum": jsm.L2ReconstructionLoss(reduction="sum"),
        "mean": jsm.L2ReconstructionLoss(),
        "norm": jsm.L2Norm(),
        "ratio": jsm.L2NormRatio(),
        "cosine": jsm.CosineSimilarity(),
        "severity": jsm.OutlierSeverity(2),
    }
)
WORKED = {
    "first": {
        "pooled": 0.6875,
        "uncentered": 0.8214286,
        "residual_variance": 0.7083333,
        "scalar_mean": 0.7727273,
        "total_variance": 0.7803030,
        "per_dimension_mean": 0.6875,
        "squared_correlation": 0.875,
        "unexplained": 0.3125,
        "legacy": 0.75,
        "normalized": 0.375,
        "bias": 0.9545455,
        "sum": 0.4166667,
        "mean": 0.2083333,
        "norm/source": (3 + 2**0.5) / 3,
        "norm/decoded": (2 + 1.25**0.5) / 3,
        "norm/error": 0.5,
        "ratio": 0.596856,
        "cosine": (1 + 1.5 / 2.5**0.5) / 2,
        "severity": 0.75**0.5,
    },
    "second": {
        "pooled": 0.8,
        "uncentered": 0.9,
        "residual_variance": 0.8,
        "scalar_mean": 0.8181818,
        "total_variance": 0.8181818,
        "per_dimension_mean": 0.875,
        "squared_correlation": 1,
        "unexplained": 0.2,
        "legacy": 0.8,
        "normalized": 0.15625,
        "bias": 0.875,
        "sum": 1,
        "mean": 0.5,
        "norm/source": 3,
        "norm/decoded": (5**0.5 + 3) / 2,
        "norm/error": 1,
        "ratio": (1.25**0.5 + 0.75) / 2,
        "cosine": 0.947214,
        "severity": 1,
    },
}


@pytest.mark.parametrize("case", WORKED)
def test_worked_cases(case):
    batch = {"first": FIRST, "second": SECOND}[case]
    assert_all_close(compute(WORKED_METRICS, batch), WORKED[case], rtol=1e-6, atol=1e-7)


def test_pooled_is_not_the_mean_of_batches():
    metric = explained_variance("pooled")
    first, second = ([array[part] for array in MERGED] for part in (slice(1), slice(1, None)))
    merged = jax.jit(metric.merge)(run(metric, first), run(metric, second))
    for state in (merged, run(metric, first, second), run(metric, MERGED)):
        np.testing.assert_allclose(value_of(metric, state), 0.18, rtol=1e-6)


def test_giving_the_mean_and_being_perfect():
    metrics = jsm.MetricCollection(DEFINED)
    source = SECOND[0]
    assert_all_close(compute(metrics, (source, source)), dict.fromkeys(DEFINED, 1))
    mean = np.broadcast_to(source.mean(0), source.shape)
    others = {"scalar_mean": 1 / 11, "total_variance": 1 / 11, "uncentered": 0.5}
    # What does not vary has no correlation.
    of_mean = dict.fromkeys(DEFINED, 0) | others | {"squared_correlation": np.nan}
    assert_all_close(compute(metrics, (source, mean)), of_mean, rtol=1e-6, atol=1e-7)


# Which activations of each vector are zero: both, the source, the decoded, none, none.
ZEROS = np.array(
    [[[0, 0], [0, 0], [3, 4], [3, 4], [0, 1]], [[0, 0], [1, 0], [0, 0], [3, 4], [2, 0]]]
)
SKIPPING = {
    jsm.NormalizedMSE: (2, (1 + 0 + 5) / 3),
    jsm.L2NormRatio: (2, (0 + 1 + 2) / 3),
    jsm.CosineSimilarity: (3, (1 + 0) / 2),
}


@pytest.mark.parametrize("metric", SKIPPING)
def test_zero_vectors_are_skipped_and_counted(metric):
    num_skipped, expected = SKIPPING[metric]
    state = run(metric(), ZEROS, ZEROS)
    np.testing.assert_allclose(metric().compute(state), expected, rtol=1e-6)
    assert metric().num_skipped(state) == 2 * num_skipped
    # A vector that is masked out does not count as skipped.
    state = run(metric(), (*ZEROS, [False, True, False, True, True]))
    assert metric().num_skipped(state) == 1
    of_components = metric(2)
    state = run(of_components, np.stack([ZEROS, ZEROS + 1], axis=2))
    np.testing.assert_array_equal(of_components.num_skipped(state), [num_skipped, 0])
    only_zeros = run(metric(), ZEROS[:, :1])
    assert np.isnan(metric().compute(only_zeros))
    with pytest.raises(ValueError, match="not a state of"):
        metric().num_skipped(jsm.LegacyExplainedVariance().init())


@pytest.mark.parametrize("place", ["source", "decoded"])
def test_nan_shows(place):
    """NaN shows even if the other of the two is zero: a vector with NaN is not skipped."""
    batch = np.random.default_rng(0).normal(size=(2, 100, 4))
    own, other = (0, 1) if place == "source" else (1, 0)
    batch[own, 70, 2] = np.nan
    batch[other, 70] = 0
    metrics = jsm.MetricCollection({name: case.build(None) for name, case in BY_NAME.items()})
    values = compute(metrics, batch)
    finite = {name for name, value in values.items() if not np.isnan(value)}
    of_source = {"L2Norm/source", "OutlierSeverity"}
    assert finite == ({"L2Norm/decoded"} if place == "source" else of_source)


WIDTHS = [jsm.ExplainedVariance, jsm.FractionVarianceUnexplained, jsm.OutlierSeverity]
every_width = pytest.mark.parametrize("metric", WIDTHS)


@every_width
def test_the_number_of_input_features_must_fit(metric):
    inputs = {name: jnp.ones((3, 5)) for name in BY_NAME[metric.__name__].inputs}
    with pytest.raises(ValueError, match=r"4 input features, got 5 in shape \(3, 5\)"):
        metric(4).observe(**inputs)


@every_width
def test_there_must_be_input_features(metric):
    with pytest.raises(ValueError, match="num_input_features"):
        metric(0)


SAELENS = {
    "l2": jsm.L2Norm(),
    "l2_ratio": jsm.L2NormRatio(),
    "relative_reconstruction_bias": jsm.RelativeReconstructionBias(),
    "explained_variance_legacy": jsm.LegacyExplainedVariance(),
    "mse": jsm.L2ReconstructionLoss(reduction="sum"),
    "cossim": jsm.CosineSimilarity(),
    "explained_variance": jsm.ExplainedVariance(24),
}


@pytest.mark.parametrize("recorded", ["saelens_a", "saelens_b"])
def test_reproduces_saelens(recorded):
    expected = json.loads((DATA / f"{recorded}.json").read_text())["metrics"]
    metrics = jsm.MetricCollection(SAELENS)
    forward = jax.jit(metrics.forward)
    state, biases = metrics.init(), []
    with np.load(DATA / f"{recorded}.npz") as arrays:
        names = ("source_activations", "decoded_activations", "mask")
        batches = [{name: arrays[name][i] for name in names} for i in range(3)]
    for batch in batches:
        state, of_batch = forward(state, **batch)
        biases.append(of_batch["relative_reconstruction_bias"])
    values = value_of(metrics, state)
    values["l2_norm_in"], values["l2_norm_out"] = values.pop("l2/source"), values.pop("l2/decoded")
    del values["l2/error"]
    # There, it is the mean of the ratios of the three batches.
    values["relative_reconstruction_bias"] = np.mean(biases)
    assert_all_close(values, {name: expected[name] for name in values}, rtol=1e-5)


def test_each_component_has_a_coefficient_of_its_own():
    inputs = {
        "source_activations": jnp.zeros((5, 2, 3)),
        "learned_activations": jnp.ones((5, 2, 4)),
        "decoded_activations": jnp.ones((5, 2, 3)),
    }
    metric = jsm.SparseAutoencoderLoss((0.5, 0.0), num_components=2)
    np.testing.assert_allclose(
        metric.compute(metric.update(metric.init(), **inputs)), [1 + 0.5 * 4, 1]
    )


@pytest.mark.parametrize(
    ("coefficients", "num_components"), [((0.5,), 2), ((0.5, 0.1), None), ((0.5, -0.1), 2)]
)
def test_coefficients_are_one_for_each_component(coefficients, num_components):
    with pytest.raises(ValueError, match="l1_coefficient: expected"):
        jsm.SparseAutoencoderLoss(coefficients, num_components)
