"""Metrics of logits: components, wrong shapes, and where rounding would show."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

import jax_sae_metrics as jsm
from metric_case import LOGITS
from model_outputs import compute, draw_logits, kl_divergence

# Logits of one component


@pytest.mark.parametrize("metric", [jsm.KLDivergenceScore, jsm.TopOneAgreement], ids=str)
def test_component_idx_of_logits(metric):
    names = LOGITS if metric is jsm.KLDivergenceScore else LOGITS[:2]
    batches = [draw_logits(6, 5, seed=seed) for seed in range(3)]
    batches = [{name: batch[name] for name in names} for batch in batches]
    stacked = {name: np.stack([batch[name] for batch in batches], axis=-2) for name in names}
    of_components = metric(3)
    wanted = compute(of_components, stacked)
    static = dynamic = of_components.init()
    update = jax.jit(of_components.update)
    for index, batch in enumerate(batches):
        static = of_components.update(static, component_idx=index, **batch)
        dynamic = update(dynamic, component_idx=jnp.int32(index), **batch)
    outside = dynamic
    for index in (-1, 3):
        outside = update(outside, component_idx=jnp.int32(index), **batches[0])
    for state in (static, dynamic, outside):
        for value, want in zip(
            jax.tree.leaves(of_components.compute(state)), jax.tree.leaves(wanted), strict=True
        ):
            np.testing.assert_allclose(value, want, rtol=1e-5)
    with pytest.raises(IndexError, match="component_idx"):
        of_components.update(static, component_idx=3, **batches[0])


def test_a_single_component_needs_no_index():
    batch = draw_logits(6, 5)
    expected = compute(jsm.KLDivergenceScore(), batch)
    alone = compute(jsm.KLDivergenceScore(1), batch)
    with_axis = compute(jsm.KLDivergenceScore(1), {n: a[:, None] for n, a in batch.items()})
    for name, want in expected.items():
        assert alone[name].shape == with_axis[name].shape == (1,)
        np.testing.assert_allclose([alone[name][0], with_axis[name][0]], want, rtol=1e-6)


def logits_like(*shape):
    return {name: jnp.zeros(shape) for name in LOGITS}


WRONG_LOGITS = {
    "no component axis": (
        jsm.KLDivergenceScore(3),
        logits_like(6, 5),
        ("source_logits", "component=3, vocabulary", "component_idx", "(6, 5)"),
    ),
    "component axis after the vocabulary": (
        jsm.KLDivergenceScore(3),
        logits_like(6, 5, 3),
        ("source_logits", "component=3, vocabulary", "(6, 5, 3)"),
    ),
    "no vocabulary axis": (
        jsm.KLDivergenceScore(),
        logits_like(),
        ("source_logits", "vocabulary axis", "()"),
    ),
    "mask with a vocabulary axis": (
        jsm.KLDivergenceScore(),
        logits_like(6, 5) | {"mask": jnp.ones((6, 5), bool)},
        ("mask", "(6,)", "(6, 5)"),
    ),
    "vocabularies of different sizes": (
        jsm.KLDivergenceScore(),
        logits_like(6, 5) | {"source_logits": jnp.zeros((6, 4))},
        ("same shape", "source_logits (6, 4)", "logits_with_reconstruction (6, 5)"),
    ),
}


@pytest.mark.parametrize("name", WRONG_LOGITS)
def test_wrong_logits(name):
    metric, inputs, says = WRONG_LOGITS[name]
    with pytest.raises(ValueError, match=says[0]) as raised:
        jax.eval_shape(lambda: metric.update(metric.init(), **inputs))
    assert all(part in str(raised.value) for part in says), raised.value


# Rounding


def test_masked_vocabulary():
    """A token with -inf in all logits counts as if it were not in the vocabulary."""
    batch = draw_logits(6, 5)
    padded = {
        name: np.concatenate([array, np.full((6, 2), -np.inf, np.float32)], axis=-1)
        for name, array in batch.items()
    }
    expected, values = (compute(jsm.KLDivergenceScore(), b) for b in (batch, padded))
    for name, want in expected.items():
        np.testing.assert_allclose(values[name], want, rtol=1e-6)
    names = LOGITS[:2]
    agreement = [compute(jsm.TopOneAgreement(), {n: b[n] for n in names}) for b in (batch, padded)]
    assert agreement[0] == agreement[1]


def test_ruling_out_a_token_that_the_model_does_not():
    batch = draw_logits(6, 5)
    batch["logits_with_reconstruction"][2, 3] = -np.inf
    values = compute(jsm.KLDivergenceScore(), batch)
    assert values["with_reconstruction"] == np.inf
    assert np.isfinite(values["with_zero_ablation"])


def test_allowing_a_token_that_the_model_rules_out():
    """It costs the probability that it takes from the others, and nothing by itself."""
    batch = draw_logits(1, 5)
    batch["source_logits"][0, 3] = -np.inf
    value = compute(jsm.KLDivergenceScore(), batch)["with_reconstruction"]
    log_p, log_q = (log_softmax(batch[name].astype(np.float64), -1) for name in LOGITS[:2])
    seen = np.arange(5) != 3
    wanted = (np.exp(log_p[:, seen]) * (log_p - log_q)[:, seen]).sum()
    np.testing.assert_allclose(value, wanted, rtol=1e-6)


def test_nan_logits_show():
    batch = draw_logits(6, 5)
    batch["logits_with_reconstruction"][0, 1] = np.nan
    values = compute(jsm.KLDivergenceScore(), batch)
    assert np.isnan(values["with_reconstruction"])
    assert np.isnan(values["score"])
    masked = compute(jsm.KLDivergenceScore(), batch | {"mask": np.arange(6) > 0})
    assert np.isfinite(jax.tree.leaves(masked)).all()


def test_an_item_with_nan_logits_does_not_agree():
    clean = np.array([[1.0, 2.0], [np.nan, 2.0], [1.0, 2.0]], np.float32)
    reconstructed = np.array([[1.0, 2.0], [np.nan, 2.0], [1.0, np.nan]], np.float32)
    batch = dict(zip(LOGITS, (clean, reconstructed), strict=False))
    np.testing.assert_allclose(compute(jsm.TopOneAgreement(), batch), 1 / 3, rtol=1e-6)


def test_of_tied_tokens_the_first_is_chosen():
    clean = np.array([[2.0, 2.0, 1.0], [2.0, 2.0, 1.0]], np.float32)
    reconstructed = np.array([[3.0, 1.0, 3.0], [1.0, 3.0, 1.0]], np.float32)
    batch = dict(zip(LOGITS, (clean, reconstructed), strict=False))
    assert compute(jsm.TopOneAgreement(), batch) == 0.5


@pytest.mark.parametrize("shift", [1e4, -1e4])
def test_very_large_logits(shift):
    """A constant added to all logits of an item changes nothing, and 1e4 between them is finite."""
    batch = draw_logits(64, 7)
    # Multiples of 2^-8, which float32 still holds at 1e4.
    batch = {name: np.round(array * 256) / 256 for name, array in batch.items()}
    shifted = {name: array + np.float32(shift) for name, array in batch.items()}
    expected, values = (compute(jsm.KLDivergenceScore(), b) for b in (batch, shifted))
    for name, want in expected.items():
        np.testing.assert_allclose(values[name], want, rtol=1e-5)


def test_very_different_predictions():
    batch = draw_logits(64, 7, noise=(1e4, 3e4))
    values = compute(jsm.KLDivergenceScore(), batch)
    log_p, log_q = (log_softmax(batch[name].astype(np.float64), axis=-1) for name in LOGITS[:2])
    wanted = (np.exp(log_p) * (log_p - log_q)).sum(-1).mean()
    np.testing.assert_allclose(values["with_reconstruction"], wanted, rtol=1e-6)


@pytest.mark.parametrize("vocabulary", [5, 5000])
@pytest.mark.parametrize("noise", [1e-5, 4e-4, 1e-2])
def test_nearly_the_same_predictions(noise, vocabulary):
    """Divergences are 1e-11 to 1e-4: in p (log p - log q), float32 would lose all digits."""
    batch = draw_logits(64, vocabulary, noise=(noise, 1.0))
    values = compute(jsm.KLDivergenceScore(), batch)
    wanted = kl_divergence(*(batch[name] for name in LOGITS[:2])).mean()
    rtol = 1e-2 if noise < 1e-4 else 1e-3
    np.testing.assert_allclose(values["with_reconstruction"], wanted, rtol=rtol)


def test_no_divergence_is_negative():
    metric = jsm.KLDivergenceScore()
    update = jax.jit(metric.forward)
    for seed, noise in enumerate((0.0, 1e-7, 3e-7, 1e-6, 1e-5, 1e-4)):
        batch = draw_logits(256, 11, noise=(noise, 1.0), seed=seed)
        per_item = {name: array[:, None] for name, array in batch.items()}
        of_items = jax.vmap(lambda b: update(metric.init(), **b)[1])(per_item)
        assert (of_items["with_reconstruction"] >= 0).all()
        if noise == 0:
            assert (of_items["with_reconstruction"] == 0).all()
            assert (of_items["score"] == 1).all()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_logits_of_low_precision_are_taken_as_float32(dtype):
    batch = {n: jnp.asarray(a, dtype) for n, a in draw_logits(64, 300).items()}
    wide = {n: a.astype(jnp.float32) for n, a in batch.items()}
    low, high = (compute(jsm.KLDivergenceScore(), b) for b in (batch, wide))
    for name, value in low.items():
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, high[name], rtol=1e-6)
