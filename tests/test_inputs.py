"""What the inputs of a call mean: component indices, masks, and who reads them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_sae_metrics as jsm
from metric_case import LOSSES, by_name
from metric_cases import DEFAULT_CASES, ratio_of_sums

COMPONENTS, ITEMS = 3, 6


def losses(*shape, seed=0):
    rng = np.random.default_rng(seed)
    arrays = {name: rng.uniform(1, 2, shape) + 3 * i for i, name in enumerate(LOSSES)}
    return {name: jnp.asarray(array, jnp.float32) for name, array in arrays.items()}


def component(inputs, idx):
    return {name: values[..., idx] for name, values in inputs.items()}


INDICES = {
    "int": int,
    "NumPy int64": np.int64,
    "NumPy int8": np.int8,
    "int32 array": jnp.int32,
    "uint8 array": jnp.uint8,
}


@pytest.mark.parametrize("kind", INDICES)
@pytest.mark.parametrize("average", ["ratio_of_sums", "mean_of_ratios"])
def test_component_by_component_equals_all_at_once(kind, average):
    metric = jsm.ReconstructionScore(COMPONENTS, average)
    inputs = losses(ITEMS, COMPONENTS)
    together = metric.update(metric.init(), **inputs)
    state = metric.init()
    for idx in range(COMPONENTS):
        chosen = INDICES[kind](idx)
        state = metric.update(state, component_idx=chosen, **component(inputs, idx))
    np.testing.assert_allclose(metric.compute(state), metric.compute(together), rtol=1e-6)


def test_a_traced_component_idx_in_a_loop():
    metric = jsm.ReconstructionScore(COMPONENTS)
    inputs = losses(ITEMS, COMPONENTS)
    by_component = {name: values.T for name, values in inputs.items()}

    @jax.jit
    def run():
        def step(state, xs):
            idx, inputs = xs
            return metric.update(state, component_idx=idx, **inputs), None

        return jax.lax.scan(step, metric.init(), (jnp.arange(COMPONENTS), by_component))[0]

    wanted = metric.compute(metric.update(metric.init(), **inputs))
    np.testing.assert_allclose(metric.compute(run()), wanted, rtol=1e-6)


def test_more_components_than_an_int8_can_count():
    metric = jsm.ReconstructionScore(300)
    state = metric.update(metric.init(), component_idx=jnp.int8(5), **losses(ITEMS))
    seen = np.flatnonzero(~np.isnan(metric.compute(state)))
    np.testing.assert_array_equal(seen, [5])


@pytest.mark.parametrize("shape", [(), (1,), (ITEMS,), (ITEMS, 1), (2, 3)])
def test_a_single_component_needs_no_index(shape):
    inputs = losses(*shape)
    metric = jsm.ReconstructionScore(num_components=1)
    value = metric.compute(metric.update(metric.init(), **inputs))
    assert value.shape == (1,)
    wanted = ratio_of_sums(*(np.asarray(inputs[name], np.float64) for name in LOSSES))
    np.testing.assert_allclose(value, [wanted], rtol=1e-6)


def test_an_item_mask_beside_a_component_index():
    inputs, mask = losses(ITEMS), np.array([True, False, True, True, False, False])
    poisoned = {name: jnp.where(mask, v, jnp.nan) for name, v in inputs.items()}
    metric = jsm.ReconstructionScore(COMPONENTS)
    state = metric.update(metric.init(), component_idx=1, mask=mask, **poisoned)
    wanted = ratio_of_sums(*(np.asarray(inputs[name], np.float64)[mask] for name in LOSSES))
    np.testing.assert_allclose(metric.compute(state), [np.nan, wanted, np.nan], rtol=1e-6)


def test_loss_mask_serves_the_metrics_of_losses_and_mask_the_others():
    """The last token of a sequence has activations, but no loss."""
    batch, sequence = 2, 5
    metrics = jsm.MetricCollection(
        {"l0": jsm.L0Norm(), "inner": jsm.MetricCollection({"score": jsm.ReconstructionScore()})}
    )
    acts = jnp.asarray(np.random.default_rng(0).normal(size=(batch, sequence, 4)), jnp.float32)
    acts = jnp.maximum(acts, 0)
    mask = np.array([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]], bool)
    inputs = losses(batch, sequence - 1)
    state = metrics.update(
        metrics.init(), learned_activations=acts, mask=mask, loss_mask=mask[:, 1:], **inputs
    )
    values = metrics.compute(state)
    np.testing.assert_allclose(values["l0"], (np.asarray(acts)[mask] != 0).sum() / mask.sum())
    kept = (np.asarray(inputs[name], np.float64)[mask[:, 1:]] for name in LOSSES)
    np.testing.assert_allclose(values["inner/score"], ratio_of_sums(*kept), rtol=1e-6)


def test_none_is_as_if_not_given():
    metric = jsm.ReconstructionScore()
    inputs = losses(ITEMS)
    state = metric.update(metric.init(), mask=None, loss_mask=None, component_idx=None, **inputs)
    np.testing.assert_array_equal(
        metric.compute(state), metric.compute(metric.update(metric.init(), **inputs))
    )


def test_names_of_nested_results():
    split = jsm.PerComponent(jsm.L0Norm(2), ["mlp_0", "mlp_1"])
    metrics = jsm.MetricCollection({"l0": split, "a": jsm.MetricCollection({"b": split})})
    assert list(metrics.compute(metrics.init())) == [
        "l0/mlp_0",
        "l0/mlp_1",
        "l0/mean",
        "a/b/mlp_0",
        "a/b/mlp_1",
        "a/b/mean",
    ]
    assert list(metrics.metrics) == ["l0", "a"]


def test_per_component_takes_per_feature_results_apart():
    metric = jsm.PerComponent(jsm.FeatureDensity(3, 2), ["mlp_0", "mlp_1"], "density")
    acts = jnp.array([[[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]])
    _, value = metric.forward(metric.init(), learned_activations=acts)
    np.testing.assert_array_equal(value["density/mlp_0"], [1, 1, 0])
    np.testing.assert_array_equal(value["density/mlp_1"], [0, 1, 1])
    assert "density/mean" not in value


def test_a_collection_is_taken_apart_by_component():
    metrics = jsm.MetricCollection(
        {
            "l0": jsm.L0Norm(2),
            "dead": jsm.DeadFeatures(3, 2, after_tokens=(1, 2)),
            "density": jsm.FeatureDensity(3, 2),
            "average": jsm.MovingAverage(jsm.L1AbsoluteLoss(2), 0.5),
        }
    )
    named = jsm.PerComponent(metrics, ("a", "b"), "sae")
    acts = jnp.array([[[1.0, 0.0, 2.0], [0.0, 0.0, 0.0]], [[1.0, 0.0, 0.0], [0.0, 4.0, 0.0]]])
    state = named.update(named.init(), learned_activations=acts)
    value = named.compute(state)
    for name, both in metrics.compute(state).items():
        for component, wanted in zip("ab", both, strict=True):
            np.testing.assert_array_equal(value.pop(f"sae/{name}/{component}"), wanted)
    assert value.keys() == {"sae/l0/mean", "sae/dead/mean", "sae/average/mean"}
    np.testing.assert_allclose(value["sae/l0/mean"], 1)
    errors, plain = named.standard_error(state), metrics.standard_error(state)
    assert errors.keys() >= {"sae/l0/a", "sae/l0/mean", "sae/density/b"}
    np.testing.assert_array_equal(errors["sae/l0/b"], plain["l0"][1])


def test_a_collection_of_different_components_is_not_taken_apart():
    metrics = jsm.MetricCollection({"l0": jsm.L0Norm(2), "l1": jsm.L1AbsoluteLoss(3)})
    with pytest.raises(TypeError, match="must all have the same number of components"):
        jsm.PerComponent(metrics, ("a", "b"))


COUNTED_BY_FEATURE = [
    case for case in DEFAULT_CASES if hasattr(case.build(2), "num_learned_features")
]


@pytest.mark.parametrize("case", COUNTED_BY_FEATURE, ids=lambda case: case.name)
def test_there_is_no_mean_over_components_of_what_is_per_learned_feature(case):
    """18 is also the number of bins of `FeatureDensityStatistics`, and here that of vectors."""

    def shapes(num_learned_features):
        others = {"num_activation_vectors": 18} if case.name == "Capacity" else {}
        sizes = {"num_learned_features": num_learned_features} | others
        metric = dataclasses.replace(case.build(2), **sizes)
        by_component = jsm.PerComponent(metric, ["a", "b"])
        values, named = (jax.eval_shape(m.compute, m.init()) for m in (metric, by_component))
        return by_name(values), named

    (of_18, named), (of_19, _) = shapes(18), shapes(19)
    for name, value in of_18.items():
        is_per_feature = (value.shape[1:2], of_19[name].shape[1:2]) == ((18,), (19,))
        assert (f"{name}/mean".strip("/") in named) == (not is_per_feature), name


def test_nan_that_is_not_masked_shows():
    """NaN is not above any threshold, is not zero, and makes means NaN."""
    acts = jnp.array([[jnp.nan, 1.0, 0.0]])
    values = {
        metric: metric.forward(metric.init(), learned_activations=acts)[1]
        for metric in (jsm.FeatureDensity(3), jsm.L0Norm(), jsm.L1AbsoluteLoss())
    }
    for value, wanted in zip(values.values(), ([0, 1, 0], 2, np.nan), strict=True):
        np.testing.assert_array_equal(value, wanted)


class _Counted(jsm.AbstractMean):
    """The mean of one integer for each vector, however large the sum: L0 is such a mean."""

    def _observe(self, batch):
        items = batch.activations("source_activations").items
        return items, jnp.full(items.shape, 2**17, jnp.int32)


def test_integers_of_a_batch_do_not_wrap():
    """2^32 active entries in one batch: as int32, their sum is 0."""
    metric, vectors = _Counted(), jnp.zeros((2**15, 1))
    assert float(metric.compute(metric.update(metric.init(), source_activations=vectors))) == 2**17
    items = jsm.Items((2**15,), (), None)
    assert float(items.sum(jnp.full(2**15, 2**17, jnp.int32))) == 2**32
