"""Components on the same items: their covariance, and the error of a difference and a mean."""

import numpy as np
import pytest

import jax_sae_metrics as jsm


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
