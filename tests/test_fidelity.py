"""How well the model survives reconstructed activations: recorded runs, error bars, rounding."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

import jax_sae_metrics as jsm

DATA = pathlib.Path(__file__).parent / "data"
LOGITS = ("source_logits", "logits_with_reconstruction", "logits_with_zero_ablation")
LOSSES = (
    "source_model_loss",
    "source_model_loss_with_reconstruction",
    "source_model_loss_with_zero_ablation",
)


def run(metric, *batches):
    """The state after some batches."""
    state, update = metric.init(), jax.jit(metric.update)
    for batch in batches:
        state = update(state, **batch)
    return state


def compute(metric, *batches):
    return metric.compute(run(metric, *batches))


def kl_divergence(clean, intervened):
    """Item by item, in float64."""
    log_p, log_q = (log_softmax(np.asarray(x, np.float64), axis=-1) for x in (clean, intervened))
    difference = log_p - log_q
    return (np.exp(log_p) * (difference + np.expm1(-difference))).sum(-1)


class Recording:
    """One evaluation by SAELens: its inputs, batch by batch, and what it printed."""

    def __init__(self, name):
        self.arrays = dict(np.load(DATA / f"{name}.npz"))
        self.printed = json.loads((DATA / f"{name}.json").read_text())["downstream"]

    def batches(self, arrays):
        return [{name: array[i] for name, array in arrays.items()} for i in range(3)]

    def losses(self, side="source"):
        recorded = ("source_loss", "loss_with_reconstruction", "loss_with_zero_ablation")
        inputs = {name: self.arrays[own] for name, own in zip(LOSSES, recorded, strict=True)}
        return self.batches(inputs | {"mask": jsm.next_token_mask(self.arrays["mask"], side)})

    def logits(self):
        # Every token has predictions, the last one too: SAELens takes the mask as it is.
        return self.batches({name: self.arrays[name] for name in (*LOGITS, "mask")})


@pytest.fixture(scope="module", params=["saelens_a", "saelens_b"])
def recording(request):
    return Recording(request.param)


def test_losses_of_saelens(recording):
    batches = recording.losses()
    values = compute(jsm.ModelLoss(), *batches)
    names = {
        "source": "ce_loss_without_sae",
        "with_reconstruction": "ce_loss_with_sae",
        "with_zero_ablation": "ce_loss_with_ablation",
    }
    assert values.keys() == names.keys()
    for name, theirs in names.items():
        np.testing.assert_allclose(values[name], recording.printed[theirs], rtol=1e-5)
    score = compute(jsm.ReconstructionScore(), *batches)
    np.testing.assert_allclose(score, recording.printed["ce_loss_score"], rtol=1e-5)
    increase = recording.printed["ce_loss_with_sae"] - recording.printed["ce_loss_without_sae"]
    batches = [{name: b[name] for name in (*LOSSES[:2], "mask")} for b in batches]
    np.testing.assert_allclose(compute(jsm.LossIncrease(), *batches), increase, rtol=1e-5)


def test_kl_divergences_of_saelens(recording):
    values = compute(jsm.KLDivergenceScore(), *recording.logits())
    names = {
        "with_reconstruction": "kl_div_with_sae",
        "with_zero_ablation": "kl_div_with_ablation",
        "score": "kl_div_score",
    }
    assert values.keys() == names.keys()
    for name, theirs in names.items():
        np.testing.assert_allclose(values[name], recording.printed[theirs], rtol=1e-5)


def test_target_side_gives_other_losses_than_saelens_where_tokens_are_masked():
    recording = Recording("saelens_b")
    value = compute(jsm.ModelLoss(), *recording.losses("target"))["with_reconstruction"]
    mask, losses = recording.arrays["mask"], recording.arrays["loss_with_reconstruction"]
    np.testing.assert_allclose(value, losses[mask[..., 1:]].mean(), rtol=1e-5)
    assert abs(value - recording.printed["ce_loss_with_sae"]) > 0.1


def test_top_one_agreement_of_the_recording(recording):
    batches = [{n: b[n] for n in (*LOGITS[:2], "mask")} for b in recording.logits()]
    clean, reconstructed, mask = (
        recording.arrays[name] for name in ("source_logits", "logits_with_reconstruction", "mask")
    )
    agrees = (clean.argmax(-1) == reconstructed.argmax(-1))[mask]
    np.testing.assert_allclose(compute(jsm.TopOneAgreement(), *batches), agrees.mean(), rtol=1e-6)


MASK = np.array([[True, True, False, True], [False, True, True, False]])


@pytest.mark.parametrize(
    ("side", "expected"),
    [
        ("source", [[True, True, False], [False, True, True]]),
        ("target", [[True, False, True], [True, True, False]]),
    ],
)
def test_next_token_mask(side, expected):
    np.testing.assert_array_equal(jsm.next_token_mask(MASK, side), expected)
    np.testing.assert_array_equal(jsm.next_token_mask(MASK[0], side), expected[0])
    traced = jax.jit(lambda mask: jsm.next_token_mask(mask, side))(MASK)
    np.testing.assert_array_equal(traced, expected)


def test_a_collection_takes_a_mask_for_tokens_and_one_for_losses():
    rng = np.random.default_rng(0)
    acts = rng.normal(size=(2, 4, 5)).astype(np.float32)
    losses = rng.random((2, 3)).astype(np.float32)
    metrics = jsm.MetricCollection({"l0": jsm.L0Norm(), "loss": jsm.LossIncrease()})
    value = metrics.compute(
        metrics.update(
            metrics.init(),
            learned_activations=acts,
            source_model_loss=losses,
            source_model_loss_with_reconstruction=losses + 1,
            mask=MASK,
            loss_mask=jsm.next_token_mask(MASK, "target"),
        )
    )
    np.testing.assert_allclose(value["loss"], 1, rtol=1e-6)


NEXT_TOKEN_MISTAKES = {
    "not boolean": (TypeError, np.ones((2, 3), np.int32), "source", ("mask", "int32", "(2, 3)")),
    "one token": (ValueError, np.ones((2, 1), bool), "source", ("mask", "two tokens", "(2, 1)")),
    "no axis": (ValueError, np.array(True), "source", ("mask", "[*batch, sequence]", "()")),
}


@pytest.mark.parametrize("name", NEXT_TOKEN_MISTAKES)
def test_wrong_next_token_masks(name):
    error, mask, side, says = NEXT_TOKEN_MISTAKES[name]
    with pytest.raises(error) as raised:
        jsm.next_token_mask(mask, side)
    assert all(part in str(raised.value) for part in says)


def draw_logits(*shape, noise=(0.5, 2.0), seed=0):
    rng = np.random.default_rng(seed)
    clean = rng.normal(0, 3, shape)
    arrays = [clean, *(clean + rng.normal(0, scale, shape) for scale in noise)]
    return dict(zip(LOGITS, (array.astype(np.float32) for array in arrays), strict=True))


def draw_losses(*shape, seed=0):
    """Losses that rise and fall together, as those of one text do."""
    rng = np.random.default_rng(seed)
    clean = rng.gamma(4, 0.5, shape)
    reconstructed = clean + rng.gamma(2, 0.1, shape)
    ablated = reconstructed + rng.gamma(4, 0.5, shape)
    arrays = (clean, reconstructed, ablated)
    return dict(zip(LOSSES, (array.astype(np.float32) for array in arrays), strict=True))


def mean_error(values):
    return values.std(ddof=1) / np.sqrt(len(values))


def ratio_error(numerators, denominators):
    residuals = numerators - numerators.sum() / denominators.sum() * denominators
    return np.sqrt((residuals**2).sum() * len(residuals) / (len(residuals) - 1)) / abs(
        denominators.sum()
    )


def of_losses(function):
    return lambda clean, reconstructed, ablated: {"": function(clean, reconstructed, ablated)}


MODEL_LOSSES = ("source", "with_reconstruction", "with_zero_ablation")


def kl_terms(clean, reconstructed, ablated):
    return kl_divergence(clean, reconstructed), kl_divergence(clean, ablated)


# The metric, its inputs, its value, and its standard error, both by name, in float64.
ERRORS = {
    "LossIncrease": (
        jsm.LossIncrease(),
        LOSSES[:2],
        lambda clean, reconstructed: {"": (reconstructed - clean).mean()},
        lambda clean, reconstructed: {"": mean_error(reconstructed - clean)},
    ),
    "ModelLoss": (
        jsm.ModelLoss(),
        LOSSES,
        lambda *losses: {n: x.mean() for n, x in zip(MODEL_LOSSES, losses, strict=True)},
        lambda *losses: {n: mean_error(x) for n, x in zip(MODEL_LOSSES, losses, strict=True)},
    ),
    "PerplexityWithReconstruction": (
        jsm.PerplexityWithReconstruction(),
        LOSSES[1:2],
        lambda losses: {"": np.exp(losses.mean())},
        lambda losses: {"": np.exp(losses.mean()) * mean_error(losses)},
    ),
    "ReconstructionScore": (
        jsm.ReconstructionScore(),
        LOSSES,
        of_losses(lambda clean, recon, zero: (zero - recon).sum() / (zero - clean).sum()),
        of_losses(lambda clean, recon, zero: ratio_error(zero - recon, zero - clean)),
    ),
    "ReconstructionScore mean_of_ratios": (
        jsm.ReconstructionScore(average="mean_of_ratios"),
        LOSSES,
        of_losses(lambda clean, recon, zero: ((zero - recon) / (zero - clean)).mean()),
        of_losses(lambda clean, recon, zero: mean_error((zero - recon) / (zero - clean))),
    ),
    "KLDivergenceScore": (
        jsm.KLDivergenceScore(),
        LOGITS,
        lambda *logits: kl_values(*kl_terms(*logits)),
        lambda *logits: kl_errors(*kl_terms(*logits)),
    ),
    "TopOneAgreement": (
        jsm.TopOneAgreement(),
        LOGITS[:2],
        lambda clean, recon: {"": (clean.argmax(-1) == recon.argmax(-1)).mean()},
        lambda clean, recon: {
            "": mean_error((clean.argmax(-1) == recon.argmax(-1)).astype(np.float64))
        },
    ),
}


def kl_values(moved, moved_most):
    return {
        "with_reconstruction": moved.mean(),
        "with_zero_ablation": moved_most.mean(),
        "score": 1 - moved.sum() / moved_most.sum(),
    }


def kl_errors(moved, moved_most):
    return {
        "with_reconstruction": mean_error(moved),
        "with_zero_ablation": mean_error(moved_most),
        "score": ratio_error(moved, moved_most),
    }


@pytest.mark.parametrize("name", ERRORS)
def test_standard_errors(name):
    """Against the formula, and against what resampling the items gives."""
    metric, names, value_of, error_of = ERRORS[name]
    size = 600
    drawn = draw_losses(size) | draw_logits(size, 11)
    inputs = {name: drawn[name] for name in names}
    first, second = (
        {n: a[part] for n, a in inputs.items()} for part in (slice(200), slice(200, None))
    )
    state = run(metric, first, second)
    values, errors = metric.compute(state), metric.standard_error(state)
    if not isinstance(values, dict):
        values, errors = {"": values}, {"": errors}
    arrays = [array.astype(np.float64) for array in inputs.values()]
    wanted, wanted_errors = value_of(*arrays), error_of(*arrays)
    rng = np.random.default_rng(1)
    draws = [rng.integers(0, size, size) for _ in range(2000)]
    resampled = [value_of(*(array[draw] for array in arrays)) for draw in draws]
    assert values.keys() == errors.keys() == wanted.keys()
    for result, value in values.items():
        np.testing.assert_allclose(value, wanted[result], rtol=1e-5)
        np.testing.assert_allclose(errors[result], wanted_errors[result], rtol=1e-4)
        spread = np.std([values[result] for values in resampled])
        np.testing.assert_allclose(errors[result], spread, rtol=0.07)


@pytest.mark.parametrize("name", ERRORS)
def test_the_error_of_a_single_item_is_nan(name):
    metric, names, *_ = ERRORS[name]
    drawn = draw_losses(1) | draw_logits(1, 11)
    errors = metric.standard_error(run(metric, {name: drawn[name] for name in names}))
    assert all(np.isnan(leaf) for leaf in jax.tree.leaves(errors))


@pytest.mark.parametrize("metric", [jsm.ModelLoss, jsm.ReconstructionScore], ids=str)
def test_mean_ablation_of_losses(metric):
    given = draw_losses(6)
    by_mean = dict(given)
    by_mean["source_model_loss_with_mean_ablation"] = by_mean.pop(LOSSES[2])
    value, expected = compute(metric(ablation="mean"), by_mean), compute(metric(), given)
    if metric is jsm.ModelLoss:
        assert list(value) == ["source", "with_reconstruction", "with_mean_ablation"]
        value, expected = list(value.values()), list(expected.values())
    np.testing.assert_array_equal(value, expected)


def test_mean_ablation_of_logits():
    given = draw_logits(6, 5)
    by_mean = dict(given)
    by_mean["logits_with_mean_ablation"] = by_mean.pop(LOGITS[2])
    values = compute(jsm.KLDivergenceScore(ablation="mean"), by_mean)
    expected = compute(jsm.KLDivergenceScore(), given)
    assert set(values) == {"with_reconstruction", "with_mean_ablation", "score"}
    assert values["with_mean_ablation"] == expected["with_zero_ablation"]
    assert values["score"] == expected["score"]


def test_results_by_component():
    metric = jsm.PerComponent(jsm.KLDivergenceScore(2), ("a", "b"))
    values = compute(metric, draw_logits(6, 2, 5))
    assert {f"score/{name}" for name in ("a", "b", "mean")} < values.keys()
    errors = metric.standard_error(run(metric, draw_logits(6, 2, 5)))
    assert errors.keys() == {name for name in values if not name.endswith("/mean")}


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
    """-inf in all logits: as if the vocabulary were smaller."""
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
    """Costs the probability that it takes from the others, and nothing by itself."""
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
    # To multiples of 2^-8, which float32 still holds at 1e4.
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
    """Divergences of 1e-11 to 1e-4, of which float32 would lose all digits in p (log p - log q)."""
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


def test_an_exponential_of_the_mean_not_a_mean_of_exponentials():
    metric = jsm.PerplexityWithReconstruction()
    batches = [
        {LOSSES[1]: np.log(np.full(size, value, np.float32))} for size, value in [(1, 2), (3, 32)]
    ]
    np.testing.assert_allclose(compute(metric, *batches), 16, rtol=1e-5)


def test_the_increase_of_large_losses_does_not_cancel():
    clean = np.full(10_000, 1e4, np.float32)
    batch = dict(zip(LOSSES[:2], (clean, clean + np.float32(2**-8)), strict=True))
    assert compute(jsm.LossIncrease(), batch) == 2**-8
