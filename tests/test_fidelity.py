"""How well the model survives reconstructed activations: recorded runs, and laws of the values."""

import json
import pathlib

import numpy as np
import pytest

import jax_sae_metrics as jsm
from metric_case import LOGITS, LOSSES
from model_outputs import compute, draw_logits, draw_losses, run

DATA = pathlib.Path(__file__).parent / "data"


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
    assert errors.keys() == values.keys()


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
