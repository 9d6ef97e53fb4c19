"""How well activations are reconstructed: worked cases, another tool's numbers, error bars."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_sae_metrics as jsm
from cases_reconstruction import CASES, DEFINITIONS, explained, legacy, norm

DATA = pathlib.Path(__file__).parent / "data"
BY_NAME = {case.name: case for case in CASES}


@jax.jit
def update(metric, state, inputs):
    return metric.update(state, **inputs)


@jax.jit
def value_of(metric, state):
    return metric.compute(state)


def run(metric, *batches):
    """The state after batches of source and decoded activations, with a mask or without."""
    state = metric.init()
    for source, decoded, *mask in batches:
        inputs = {"source_activations": source, "decoded_activations": decoded}
        inputs = {name: np.asarray(array, np.float32) for name, array in inputs.items()}
        state = update(metric, state, inputs | ({"mask": np.asarray(*mask)} if mask else {}))
    return state


def compute(metric, *batches):
    return value_of(metric, run(metric, *batches))


def explained_variance(definition):
    return jsm.ExplainedVariance(2, definition=definition)


def assert_all_close(values, expected, **tolerances):
    assert values.keys() == expected.keys()
    for name, value in values.items():
        np.testing.assert_allclose(value, expected[name], **tolerances, err_msg=name)


FIRST = np.array([[[-1, 0], [0, 2], [1, 1]], [[0, 0], [0, 2], [0.5, 1]]])
SECOND = np.array([[[2, 0], [0, 4]], [[2, 1], [0, 3]]])
# Ten vectors of equal variance: one of which 0.1 is missed, and nine of which 0.9 is.
MERGED_SOURCE = np.array([[1.0, 0], [-1, 0]] * 5)
MERGED = (MERGED_SOURCE, MERGED_SOURCE + np.sqrt([[0.1, 0]] + [[0.9, 0]] * 9))

ORACLES = {"pooled": explained} | DEFINITIONS
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
        "per_dimension_mean": 0.6875,
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
        "per_dimension_mean": 0.875,
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
    of_mean = dict.fromkeys(DEFINED, 0) | {"uncentered": 0.5, "scalar_mean": 1 / 11}
    assert_all_close(compute(metrics, (source, mean)), of_mean, rtol=1e-6, atol=1e-7)


def noisy(num_vectors, means, seed=0):
    """Standard deviation 1 about the means, with an error of 0.3 and a bias of 0.1."""
    rng = np.random.default_rng(seed)
    source = np.asarray(means) + rng.normal(size=(num_vectors, len(means)))
    decoded = source + 0.1 + 0.3 * rng.normal(size=source.shape)
    return source.astype(np.float32), decoded.astype(np.float32)


@pytest.mark.parametrize("mean", [1000, 1e4])
@pytest.mark.parametrize("cut", [[], [1, 7, 1000]], ids=["whole", "cut up"])
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
    """Of the vectors that the centre is taken from, the first is one and the others are not."""
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
    assert 0 < compute(explained_variance("pooled"), (source, decoded)) < 1


def test_single_vectors_have_a_variance_and_no_error_bar():
    batch = noisy(50, [1000, 0])
    metric = jsm.ExplainedVariance(2)
    state = run(metric, *zip(*(np.split(array, 50) for array in batch), strict=True))
    exact = explained(*(array.astype(float) for array in batch))
    np.testing.assert_allclose(metric.compute(state), exact, rtol=1e-5)
    assert np.isnan(metric.standard_error(state))


# Vectors of which something is zero: both, the source, the decoded, none, none.
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
    # What is masked out is not skipped, it was never there.
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
    """Also where the other of the two is zero: NaN is not, and hides nothing."""
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
    """Vectors of different lengths and errors, none close to zero or to the mean."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(num_vectors, 4)) * rng.uniform(0.7, 1.4, size=(num_vectors, 1))
    x[:, 0] = 1.5 + np.sign(x[:, 0]) * (1 + abs(x[:, 0]))
    y = 0.9 * x + 0.3 * rng.normal(size=x.shape) * rng.uniform(0.5, 1.5, size=(num_vectors, 1))
    return x.astype(np.float32).astype(float), y.astype(np.float32).astype(float)


def error_bars(*batches):
    metrics = jsm.MetricCollection({name: BY_NAME[name].build(None) for name in WITH_ERROR_BARS})
    return jax.jit(metrics.standard_error)(run(metrics, *batches))


def test_standard_errors_are_the_formula():
    # No more vectors than the centre is taken from: it is their mean.
    batch = draw(64)
    expected = {}
    for name, parts in PARTS.items():
        a, b = np.broadcast_arrays(*parts(*batch))
        residuals = a - a.sum() / b.sum() * b
        expected[name] = np.sqrt(64 / 63 * (residuals**2).sum()) / abs(b.sum())
    assert_all_close(error_bars(batch), expected, rtol=1e-4)


@pytest.mark.parametrize("cut", [[], [200, 400]], ids=["whole", "cut up"])
def test_standard_errors_are_those_of_the_bootstrap(cut):
    """Vectors drawn again, with replacement, 2000 times."""
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
