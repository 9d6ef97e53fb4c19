"""Metrics of inputs of any name: which shapes they take, which mask fits, and that NaN shows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_sae_metrics as jsm

METRICS = {
    "MeanOf": (jsm.MeanOf, np.mean),
    "MaxOf": (jsm.MaxOf, np.max),
    "MinOf": (jsm.MinOf, np.min),
}
every_metric = pytest.mark.parametrize(("metric", "oracle"), METRICS.values(), ids=METRICS)


def run(metric, *batches, **masks):
    state, update = metric.init(), jax.jit(metric.update)
    for batch in batches:
        state = update(state, score=jnp.asarray(batch, jnp.float32), **masks)
    return metric.compute(state)


@every_metric
def test_scalars_are_one_number_for_each_call_whatever_the_mask(metric, oracle):
    values = [3.0, -5.0, 4.0]
    np.testing.assert_allclose(run(metric("score"), *values), oracle(values))
    mask = jnp.zeros(7, bool)
    np.testing.assert_allclose(
        run(metric("score"), *values, mask=mask, loss_mask=mask), oracle(values)
    )
    np.testing.assert_allclose(run(metric("score", 2), *values), [oracle(values)] * 2)
    each = [[3.0, 1.0], [-5.0, 2.0]]
    np.testing.assert_allclose(run(metric("score", 2), *each), oracle(np.array(each), axis=0))


@every_metric
@pytest.mark.parametrize("num_components", [None, 2])
def test_the_mask_is_the_one_that_fits(metric, oracle, num_components):
    components = () if num_components is None else (num_components,)
    rng = np.random.default_rng(0)
    masks = {"mask": rng.random((4, 6)) < 0.5, "loss_mask": rng.random((4, 5)) < 0.5}
    for name, mask in masks.items():
        score = rng.normal(size=(*mask.shape, *components)).astype(np.float32)
        value = run(metric("score", num_components), score, **masks)
        np.testing.assert_allclose(value, oracle(score[mask], axis=0), rtol=1e-6, err_msg=name)
        # For all components at once, in the third shape that masks may have.
        alike = {n: m.reshape(*m.shape, *(1 for _ in components)) for n, m in masks.items()}
        np.testing.assert_array_equal(run(metric("score", num_components), score, **alike), value)
    both = {"mask": masks["mask"], "loss_mask": ~masks["mask"]}
    score = rng.normal(size=(4, 6, *components)).astype(np.float32)
    value = run(metric("score", num_components), score, **both)
    np.testing.assert_allclose(value, oracle(score[masks["mask"]], axis=0), rtol=1e-6)


@every_metric
def test_a_nan_shows_unless_it_is_masked_out(metric, oracle):
    score, mask = jnp.array([1.0, jnp.nan, 3.0]), jnp.array([True, False, True])
    assert np.isnan(run(metric("score"), score))
    assert np.isnan(run(metric("score"), score, [7.0]))
    np.testing.assert_allclose(run(metric("score"), score, mask=mask), oracle([1, 3]))


@pytest.mark.parametrize(
    ("metric", "numbers", "want"),
    [
        (jsm.MaxOf, [np.inf, 1], np.inf),
        (jsm.MaxOf, [-np.inf, 1], 1),
        (jsm.MaxOf, [-np.inf], np.nan),
        (jsm.MinOf, [-np.inf, 1], -np.inf),
        (jsm.MinOf, [np.inf, 1], 1),
        (jsm.MinOf, [np.inf], np.nan),
    ],
)
def test_infinities(metric, numbers, want):
    np.testing.assert_array_equal(run(metric("score"), numbers), want)


@every_metric
def test_the_name_may_be_another_one(metric, oracle):
    renamed = jsm.Renamed(metric("loss"), loss="score")
    np.testing.assert_allclose(run(renamed, [3.0, -5.0, 4.0]), oracle([3, -5, 4]), rtol=1e-6)


@every_metric
@pytest.mark.parametrize(
    ("error", "num_components", "inputs", "says"),
    [
        (
            ValueError,
            3,
            {"score": jnp.ones((4, 2))},
            "expects a scalar, or a last axis of that size",
        ),
        (ValueError, None, {"score": jnp.ones(4), "mask": jnp.ones(5, bool)}, "mask of shape"),
        (TypeError, None, {"score": jnp.ones(4, jnp.int32)}, "floating-point dtype"),
        (
            TypeError,
            None,
            {"scores": jnp.ones(4)},
            "score: .* needs this input and was given scores",
        ),
    ],
)
def test_wrong_inputs_are_named(metric, oracle, error, num_components, inputs, says):
    metric = metric("score", num_components)
    with pytest.raises(error, match=says):
        metric.update(metric.init(), **inputs)


@every_metric
@pytest.mark.parametrize("name", ["", 3])
def test_a_name_is_a_string(metric, oracle, name):
    with pytest.raises(Exception, match="name"):
        metric(name)
