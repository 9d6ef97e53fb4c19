"""Error bars: the delta method over the right units, however the data come."""

import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec as P

import jax_sae_metrics as jsm
from error_parts import EXPONENTIAL, PARTS, covariance_of, parts_by_name, units_of
from metric_case import draw_inputs
from selection import all_of

TEXTS, TOKENS = 16, 6
CLUSTERS = ("items", "prompts")
# Their denominators are measured from the mean of a batch.
ABOUT_MEAN = {"ExplainedVariance", "FractionVarianceUnexplained", "LegacyExplainedVariance"}


def build(num_components, clusters, names=PARTS):
    return jsm.MetricCollection(
        {name: PARTS[name][0](num_components, clusters=clusters) for name in names}
    )


def draw(num_components, texts=TEXTS, seed=0):
    names = dict.fromkeys(name for _, inputs, _ in PARTS.values() for name in inputs)
    inputs = draw_inputs(names, (texts, TOKENS), num_components, seed)
    # Tokens of one text are alike, and components find the same texts hard.
    hard = 1 + np.random.default_rng(seed).gamma(2, 0.5, texts).astype(np.float32)
    for name, array in inputs.items():
        if name != "source_activations":
            array *= hard.reshape(-1, *(1,) * (array.ndim - 1))
    mask = np.random.default_rng(seed + 1).random((texts, TOKENS)) < 0.8
    mask[0] = False  # a text of padding alone
    return inputs, mask


def expected_covariances(inputs, mask, num_components, clusters, names=PARTS):
    """By result, as the metrics name them, in float64."""
    expected = {}
    for name in names:
        read = PARTS[name][1]
        arrays = [np.asarray(inputs[each], np.float64) for each in read]
        num_inner = [0 if "loss" in each else 1 for each in read]
        components = [
            [
                array if num_components is None else array.take(c, axis=array.ndim - 1 - inner)
                for array, inner in zip(arrays, num_inner, strict=True)
            ]
            for c in range(num_components or 1)
        ]
        parts = [parts_by_name(name, each, mask) for each in components]
        for result in parts[0]:
            units = [units_of(each[result], mask, clusters) for each in parts]
            covariance = covariance_of(units)
            if name in EXPONENTIAL:
                values = np.exp([a.sum() / b.sum() for a, b in units])
                covariance = covariance * np.multiply.outer(values, values)
            key = f"{name}/{result}" if result else name
            expected[key] = covariance if num_components else covariance[0, 0]
    return expected


def assert_close(found, expected, rtol, but_for=()):
    """Relative to the variances: covariances may be close to zero."""
    assert found.keys() == expected.keys()
    for name, want in expected.items():
        got, want = np.asarray(found[name]), np.asarray(want)
        assert got.shape == want.shape, name
        if name not in but_for:
            scale = np.sqrt(np.multiply.outer(np.diag(want), np.diag(want))) if want.ndim else want
            np.testing.assert_allclose(got / scale, want / scale, atol=rtol, rtol=0, err_msg=name)


@functools.partial(jax.jit, static_argnums=0)
def update(metrics, state, inputs, mask):
    return metrics.update(state, **inputs, mask=mask)


@functools.partial(jax.jit, static_argnums=0)
def observe(metrics, inputs, mask):
    return metrics.observe(**inputs, mask=mask)


def run(metrics, *batches):
    state = metrics.init()
    for inputs, mask in batches:
        inputs = {name: np.where(spread(mask, a), a, np.nan) for name, a in inputs.items()}
        state = update(metrics, state, inputs, mask)
    return state


def spread(mask, array):
    return mask.reshape(*mask.shape, *(1,) * (array.ndim - mask.ndim))


@pytest.mark.parametrize(
    ("clusters", "num_components"),
    all_of(
        [(clusters, c) for clusters in CLUSTERS for c in (None, 3)],
        by_default=[("prompts", 3)],
    ),
)
def test_covariances_are_those_of_the_delta_method(clusters, num_components):
    inputs, mask = draw(num_components)
    metrics = build(num_components, clusters)
    state = run(metrics, (inputs, mask))
    expected = expected_covariances(inputs, mask, num_components, clusters)
    assert_close(jax.jit(metrics.covariance)(state), expected, rtol=1e-4)
    for name, error in metrics.standard_error(state).items():
        diagonal = np.diag(expected[name]) if num_components else expected[name]
        np.testing.assert_allclose(error, np.sqrt(diagonal), rtol=1e-4, err_msg=name)


@pytest.mark.exhaustive
@pytest.mark.parametrize("clusters", CLUSTERS)
def test_errors_are_the_spread_of_resampled_units(clusters):
    """The bootstrap draws texts, or items, again, with replacement, 1000 times."""
    inputs, mask = draw(None, texts=150)
    if clusters == "items":
        # Tokens of all texts in any order: none is closer to another than to the rest.
        inputs = {n: a.reshape(150 * TOKENS, 1, *a.shape[2:]) for n, a in inputs.items()}
        mask = mask.reshape(150 * TOKENS, 1)
    metrics = build(None, clusters)
    errors = metrics.standard_error(run(metrics, (inputs, mask)))
    rng = np.random.default_rng(2)
    draws = [rng.integers(len(mask), size=len(mask)) for _ in range(1000)]
    for name, (_, read, _) in PARTS.items():
        arrays = [inputs[each].astype(np.float64) for each in read]
        whole = parts_by_name(name, arrays, mask)
        values = {result: [] for result in whole}
        for drawn in draws:
            parts = {result: [part[drawn] for part in parts] for result, parts in whole.items()}
            if name in ABOUT_MEAN:
                parts = parts_by_name(name, [array[drawn] for array in arrays], mask[drawn])
            for result, each in parts.items():
                a, b = units_of(each, mask[drawn], clusters)
                value = a.sum() / b.sum()
                values[result].append(np.exp(value) if name in EXPONENTIAL else value)
        for result, resampled in values.items():
            error = errors[f"{name}/{result}" if result else name]
            np.testing.assert_allclose(error, np.std(resampled), rtol=0.08, err_msg=name + result)


def test_the_error_of_a_single_unit_is_nan():
    inputs, mask = draw(None)
    one = {name: array[:1] for name, array in inputs.items()}, np.ones_like(mask[:1])
    metrics = build(None, "prompts")
    for name, error in metrics.standard_error(run(metrics, one)).items():
        assert np.isnan(error), name


@pytest.mark.exhaustive
@pytest.mark.parametrize("clusters", CLUSTERS)
def test_the_cut_into_batches_and_the_order_of_merging_do_not_matter(clusters):
    inputs, mask = draw(2)
    metrics = build(2, clusters)
    parts = [slice(0, 1), slice(1, 7), slice(7, TEXTS)]
    cut = [({n: a[part] for n, a in inputs.items()}, mask[part]) for part in parts]
    wanted = expected_covariances(inputs, mask, 2, clusters)
    first, second, third = (run(metrics, batch) for batch in cut)
    combined = functools.reduce(metrics.combine, (observe(metrics, *batch) for batch in cut))
    merge = jax.jit(metrics.merge)
    for state in (
        run(metrics, *cut),
        merge(merge(first, second), third),
        merge(first, merge(third, second)),
        jax.jit(metrics.accumulate)(metrics.init(), combined),
    ):
        assert_close(metrics.covariance(state), wanted, rtol=1e-4, but_for=ABOUT_MEAN)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("way", "check_vma"),
    [("axis_name", True), ("all_reduce", False)],
)
def test_the_cut_over_devices_does_not_matter(way, check_vma):
    inputs, mask = draw(2, texts=64)
    metrics = build(2, "prompts")
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))

    @jax.jit
    @functools.partial(
        jax.shard_map, mesh=mesh, in_specs=P("data"), out_specs=P(), check_vma=check_vma
    )
    def over_devices(inputs, mask):
        given = {**inputs, "mask": mask}
        if way == "axis_name":
            return metrics.update(metrics.init(), **given, axis_name="data")
        return metrics.all_reduce(metrics.update(metrics.init(), **given), "data")

    found = metrics.covariance(over_devices(inputs, mask))
    wanted = expected_covariances(inputs, mask, 2, "prompts")
    # Without `axis_name`, each device measures from the mean of its own 8 texts.
    assert_close(found, wanted, 1e-4, but_for=ABOUT_MEAN if way == "all_reduce" else ())


# Each number of a mean is 1 plus this times a few millionths; ratios are 1 to a few millionths.
STEP = 2.0**-20


@pytest.mark.skipif(
    "optimization_level=0" in os.environ["XLA_FLAGS"],
    reason="without a fused multiply-add, residuals have a digit less; run with XLA_FLAGS=",
)
@pytest.mark.parametrize("num_batches", [1, 50])
def test_a_spread_of_a_millionth_is_resolved(num_batches):
    rng = np.random.default_rng(0)
    steps = rng.integers(-8, 9, (num_batches, 200))
    stakes = rng.integers(1, 5, steps.shape)
    clean = np.zeros(steps.shape, np.float32)
    inputs = {
        "source_model_loss": clean,
        "source_model_loss_with_reconstruction": (1 + STEP / 8 * steps) * stakes,
        "source_model_loss_with_zero_ablation": stakes,
    }
    inputs = {name: array.astype(np.float32) for name, array in inputs.items()}
    metrics = jsm.MetricCollection({"mean": jsm.LossIncrease(), "ratio": jsm.ReconstructionScore()})
    state, step = metrics.init(), jax.jit(metrics.update)
    for i in range(num_batches):
        state = step(state, **{name: array[i] for name, array in inputs.items()})
    ones = np.ones(steps.size)
    lost = np.float64(inputs["source_model_loss_with_reconstruction"]).ravel()
    wanted = covariance_of([(lost, stakes.ravel().astype(float))])[0, 0]
    error = metrics.standard_error(state)
    np.testing.assert_allclose(error["ratio"], np.sqrt(wanted), rtol=1e-3)
    # The same numbers as a mean: all stakes are 1.
    near_one = (1 + STEP / 8 * steps).astype(np.float32)
    mean = jsm.PerplexityWithReconstruction()
    state, step = mean.init(), jax.jit(mean.update)
    for batch in near_one:
        state = step(state, source_model_loss_with_reconstruction=batch)
    wanted = np.e * np.sqrt(covariance_of([(np.float64(near_one).ravel(), ones)])[0, 0])
    np.testing.assert_allclose(mean.standard_error(state), wanted, rtol=1e-3)


def test_a_portion_close_to_one_has_an_error():
    """Of 2^24 + 2^10 vectors, 2^10 do not fire: in float32, 1 - p has no digits left."""
    metric = jsm.FeatureDensity(1)
    state = metric.init()
    silent, firing = np.zeros((2**10, 1), np.float32), np.ones((2**20, 1), np.float32)
    step = jax.jit(metric.update)
    state = step(state, learned_activations=silent)
    for _ in range(16):
        state = step(state, learned_activations=firing)
    num, rest = 2**24 + 2**10, 2**10
    wanted = np.sqrt(rest / num * (1 - rest / num) / (num - 1))
    np.testing.assert_allclose(metric.standard_error(state), [wanted], rtol=1e-5)


def test_a_mean_of_activations_without_a_spread_has_no_error():
    metric = jsm.ActivationStatistics(2)
    activations = np.array([[3.0, 1.0], [3.0, 2.0], [3.0, 3.0]], np.float32)
    state = metric.update(metric.init(), learned_activations=activations)
    error = metric.standard_error(state)["mean_when_active"]
    np.testing.assert_allclose(error, [np.nan, 1 / np.sqrt(3)], rtol=1e-5)


def test_the_clusters_of_a_ready_made_collection():
    metrics = jsm.evaluation_metrics(8, 4, 2, model_losses=True, logits=True, clusters="prompts")
    clustered = {n: one.clusters for n, one in metrics.metrics.items() if hasattr(one, "clusters")}
    assert set(clustered.values()) == {"prompts"}
    assert metrics.metrics.keys() - clustered.keys() == {"feature_density", "density"}


def test_clusters_change_no_value():
    inputs, mask = draw(None)
    values = [
        metrics.compute(run(metrics, (inputs, mask)))
        for metrics in (build(None, "items"), build(None, "prompts"))
    ]
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), *values)


@pytest.mark.parametrize("first", [0.0, 10.0, 1e6])
def test_a_first_batch_unlike_all_others_costs_no_digits(first):
    """Residuals about a reference that stayed with the first batch would lose three of them."""
    level = np.where(np.arange(2000) == 0, first, 1.0)
    batches = level[:, None] + 1e-3 * np.random.default_rng(0).normal(size=(2000, 16))
    batches = batches.astype(np.float32)
    metric = jsm.MeanOf("loss")
    step = lambda state, loss: (metric.update(state, loss=loss), None)  # noqa: E731
    state, _ = jax.jit(lambda xs: jax.lax.scan(step, metric.init(), xs))(jnp.asarray(batches))
    wanted = batches.astype(np.float64).std(ddof=1) / np.sqrt(batches.size)
    np.testing.assert_allclose(metric.standard_error(state), wanted, rtol=1e-5)
