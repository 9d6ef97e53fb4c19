"""Error bars: the delta method over the right units, however the data come."""

import functools

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

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
        by_default=[("items", None), ("prompts", 3)],
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


@pytest.mark.parametrize("clusters", all_of(CLUSTERS, by_default=["prompts"]))
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


@pytest.mark.parametrize("clusters", all_of(CLUSTERS, by_default=["prompts"]))
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


@pytest.mark.parametrize(
    ("way", "check_vma"),
    all_of([("axis_name", True), ("all_reduce", False)], by_default=[("axis_name", True)]),
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


D = 32


def activations_of(kind, batches=8, texts=64, tokens=128, seed=0):
    """Source and decoded activations `[batch, text, token, D]`, laid out as language models do."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(batches, texts, tokens, D))
    name, _, size = kind.partition(" ")
    if name == "first":
        direction = rng.normal(size=D) / np.sqrt(D)
        x[:, :, 0] = float(size) * (direction + 0.1 * rng.normal(size=(batches, texts, D)))
    elif name == "drift":
        x += float(size) * rng.normal(size=(batches, 1, 1, D))
    elif name == "sorted":
        x = x.reshape(-1, D)[np.argsort(x[..., 0].ravel())].reshape(x.shape)
    y = 0.8 * x + 0.3 * abs(x) * rng.normal(size=x.shape)
    return x.astype(np.float32), y.astype(np.float32)


def exact_error(x, y):
    """The standard error about the mean of all vectors, in float64."""
    x, y = (array.reshape(-1, D).astype(np.float64) for array in (x, y))
    parts = ((x - y) ** 2).sum(-1), ((x - x.mean(0)) ** 2).sum(-1)
    return np.sqrt(covariance_of([parts])[0, 0])


@jax.jit
def error_of(batches):
    metric = jsm.ExplainedVariance(D)

    def step(state, batch):
        source, decoded = batch
        inputs = {"source_activations": source, "decoded_activations": decoded}
        return metric.update(state, **inputs), None

    return metric.standard_error(jax.lax.scan(step, metric.init(), batches)[0])


@pytest.mark.parametrize(
    ("kind", "rtol"),
    {
        "plain": 1e-3,
        "first 20": 1e-3,
        "first 100": 1e-3,
        "first 1000": 1e-3,
        "drift 0.1": 0.01,
        "drift 0.3": 0.04,
        "sorted": 0.01,
    }.items(),
)
def test_the_layout_of_explained_variance_does_not_matter(kind, rtol):
    x, y = activations_of(kind)
    np.testing.assert_allclose(error_of((x, y)), exact_error(x, y), rtol=rtol)


@pytest.mark.parametrize("kind", ["first 20", "first 1000"])
def test_massive_first_tokens_cost_no_digits(kind):
    """Not of the values either: sums are about a few vectors, of which few are first tokens."""
    x, y = activations_of(kind, batches=1)
    metric = jsm.FractionVarianceUnexplained(D)
    inputs = {"source_activations": x[0], "decoded_activations": y[0]}
    state = jax.jit(metric.update)(metric.init(), **inputs)
    x, y = (array.reshape(-1, D).astype(np.float64) for array in (x, y))
    exact = ((x - y) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
    np.testing.assert_allclose(metric.compute(state), exact, rtol=1e-6)


@pytest.mark.parametrize("kind", ["drift 1", "drift 3"])
def test_an_error_that_batches_do_not_resolve_is_nan(kind):
    x, y = activations_of(kind)
    assert np.isnan(error_of((x, y)))
    # In one batch, it is resolved.
    one = [array.reshape(1, -1, D) for array in (x, y)]
    np.testing.assert_allclose(error_of(one), exact_error(x, y), rtol=1e-3)


@pytest.mark.parametrize("kind", ["drift 3", "first 1000"])
def test_a_known_mean_makes_the_error_right_for_any_batches(kind):
    x, y = activations_of(kind, batches=64, texts=1, tokens=8)
    mean = x.reshape(-1, D).mean(0, dtype=np.float64).astype(np.float32)
    metric = jsm.FractionVarianceUnexplained(D)
    state, step = metric.init(), jax.jit(metric.update)
    for source, decoded in zip(x, y, strict=True):
        inputs = {"source_activations": source, "decoded_activations": decoded}
        state = step(state, **inputs, source_mean=mean)
    np.testing.assert_allclose(metric.standard_error(state), exact_error(x, y), rtol=1e-3)
    far = metric.update(metric.init(), **inputs, source_mean=mean + 1000)
    assert np.isnan(metric.standard_error(far))


@pytest.mark.parametrize("spec", [P("data"), P(None, "data")], ids=["texts", "tokens"])
@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_massive_first_tokens_on_sharded_arrays(spec, axis_type):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(axis_type,))
    x, y = (array[0] for array in activations_of("first 100", batches=1))
    metric = jsm.ExplainedVariance(D)
    with jax.set_mesh(mesh):
        placed = [jax.device_put(array, NamedSharding(mesh, spec)) for array in (x, y)]
        state = jax.jit(metric.update)(
            metric.init(sharding=NamedSharding(mesh, P())),
            source_activations=placed[0],
            decoded_activations=placed[1],
        )
        error = jax.jit(metric.standard_error)(state)
    np.testing.assert_allclose(error, exact_error(x, y), rtol=1e-3)


def paired(seed=0):
    """Two dictionaries on the same losses: what is hard for one is hard for the other."""
    rng = np.random.default_rng(seed)
    clean = rng.gamma(4, 0.5, (400, 1))
    hard = rng.gamma(2, 0.1, (400, 1))
    reconstructed = clean + hard + [[0.1, 0.112]] + 0.02 * rng.normal(size=(400, 2))
    inputs = {
        "source_model_loss": np.broadcast_to(clean, (400, 2)),
        "source_model_loss_with_reconstruction": reconstructed,
    }
    return {name: array.astype(np.float32) for name, array in inputs.items()}


def test_two_components_are_compared_on_the_same_items():
    metric, inputs = jsm.LossIncrease(2), paired()
    state = metric.update(metric.init(), **inputs)
    clean, reconstructed = (np.float64(array) for array in inputs.values())
    each = reconstructed - clean
    value, error = jsm.difference(metric, state, 1, 0)
    of_items = each[:, 1] - each[:, 0]
    np.testing.assert_allclose(value, of_items.mean(), rtol=1e-4)
    np.testing.assert_allclose(error, of_items.std(ddof=1) / 20, rtol=1e-3)
    separate = metric.standard_error(state)
    assert error < 0.3 * np.sqrt((separate**2).sum())
    assert jsm.difference(metric, state, 1, 1) == (0, 0)
    # In a collection and by name, it is the same.
    named = jsm.PerComponent(metric, ("a", "b"))
    collection = jsm.MetricCollection(
        {"increase": named, "losses": jsm.MetricCollection({"plain": metric})}
    )
    of_both = {"increase": state, "losses": {"plain": state}}
    pairs = jsm.difference(collection, of_both, 1, 0)
    assert pairs == {"increase": (value, error), "losses/plain": (value, error)}


def test_the_error_of_the_mean_over_components():
    metric, inputs = jsm.PerComponent(jsm.LossIncrease(2), ("a", "b")), paired()
    state = metric.update(metric.init(), **inputs)
    clean, reconstructed = (np.float64(array) for array in inputs.values())
    of_items = (reconstructed - clean).mean(-1)
    wanted = of_items.std(ddof=1) / 20
    np.testing.assert_allclose(metric.standard_error(state)["mean"], wanted, rtol=1e-4)


def test_components_that_never_met_have_no_covariance():
    metric, inputs = jsm.LossIncrease(2), paired()
    state = metric.init()
    for component in range(2):
        of_one = {name: array[:, component] for name, array in inputs.items()}
        state = metric.update(state, **of_one, component_idx=component)
    covariance = metric.covariance(state)
    np.testing.assert_array_equal(np.isnan(covariance), [[False, True], [True, False]])
    together = metric.covariance(metric.update(metric.init(), **inputs))
    np.testing.assert_allclose(np.diag(covariance), np.diag(together), rtol=1e-5)
    assert np.isnan(jsm.difference(metric, state, 0, 1)[1])


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


@pytest.mark.parametrize("metric", [jsm.FeatureDensity(2, 2), jsm.DeadFeatures(2, 2)], ids=repr)
def test_what_has_no_covariance_says_so(metric):
    with pytest.raises(TypeError, match="no covariance: what it measures"):
        metric.covariance(metric.init())


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [(2, 0, "one: .* got 2"), (0, -1, "other: .*-1")],
)
def test_a_component_that_does_not_exist(one, other, message):
    metric = jsm.L0Norm(2)
    with pytest.raises(IndexError, match=message):
        jsm.difference(metric, metric.init(), one, other)


def test_a_difference_needs_components():
    with pytest.raises(TypeError, match="num_components"):
        jsm.difference(jsm.L0Norm(), jsm.L0Norm().init(), 0, 0)


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
