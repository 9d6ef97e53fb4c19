"""An evaluation equals a loop over batches, components and tokens in float64."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

import jax_sae_metrics as jsm
from evaluated_models import (
    AUTOENCODERS,
    DECODERS,
    EMBED,
    ENCODERS,
    MIX,
    MODELS,
    NAMES,
    OUT,
    WIDTH,
    batches,
    dense,
    few,
    flat,
    forward,
    in_one_place,
    of_equinox,
    random,
    top_k,
)
from jax_sae_metrics.evaluation import Component, evaluate
from jax_sae_metrics.evaluation.codes import stacked


def losses_of(logits, tokens):
    logits = logits[:-1]
    shifted = logits - logits.max(-1, keepdims=True)
    log_normaliser = np.log(np.exp(shifted).sum(-1))
    return log_normaliser - np.take_along_axis(shifted, tokens[1:, None], -1)[:, 0]


def in_float64(is_together=False):
    """The losses of each component (or of all at once), and more, text by text."""
    texts = {name: [] for name in NAMES}
    for tokens, mask in batches():
        for text, kept in zip(tokens, mask, strict=True):
            for index, name in enumerate(NAMES):
                seen = {}

                def clean(x, component, seen=seen):
                    seen[component] = x
                    return x

                def decode(x, component):
                    learned = np.maximum(x @ ENCODERS[component] - 1, 0)
                    return learned @ DECODERS[component], learned

                def reconstruct(x, component, index=index):
                    return decode(x, component)[0] if is_together or component == index else x

                def ablate(x, component, index=index):
                    return np.zeros_like(x) if is_together or component == index else x

                logits = [
                    forward(EMBED, MIX, OUT, text, hook, np.tanh)
                    for hook in (clean, reconstruct, ablate)
                ]
                both = kept[1:] & kept[:-1]
                losses = [losses_of(each, text)[both] for each in logits]
                agrees = logits[0].argmax(-1) == logits[1].argmax(-1)
                decoded, learned = decode(seen[index], index)
                errors = ((seen[index] - decoded) ** 2).sum(-1)
                texts[name].append(
                    (*losses, agrees[kept], (learned != 0).sum(-1)[kept], errors[kept])
                )
    return texts


def joined(texts):
    return [np.concatenate(of_texts) for of_texts in zip(*texts, strict=True)]


def score(clean, reconstructed, ablated):
    return (ablated - reconstructed).sum() / (ablated - clean).sum()


@pytest.fixture(scope="module")
def wanted():
    return in_float64()


BY_DEFAULT = {("Equinox", dense)}


@pytest.mark.parametrize(
    ("kind", "codes"),
    [
        pytest.param(*pair, marks=[] if pair in BY_DEFAULT else pytest.mark.exhaustive)
        for pair in itertools.product(MODELS, (dense, top_k, flat))
    ],
)
def test_equals_a_loop(kind, codes, wanted):
    autoencoders = {name: codes(index) for index, name in enumerate(NAMES)}
    values = evaluate(MODELS[kind](), autoencoders, batches(), progress=False).values
    for name, texts in wanted.items():
        clean, reconstructed, ablated, agrees, l0, errors = joined(texts)
        for metric, number in {
            "ce_loss_score": score(clean, reconstructed, ablated),
            "ce_loss_increase": (reconstructed - clean).mean(),
            "ce_loss/source": clean.mean(),
            "ce_loss/with_zero_ablation": ablated.mean(),
            "top_1_agreement": agrees.mean(),
            "l0": l0.mean(),
            "mse": errors.mean(),
        }.items():
            np.testing.assert_allclose(
                values[f"{metric}/{name}"], number, rtol=1e-4, err_msg=metric
            )


def difference_of_means(one, other):
    """Of two components, with the error over texts, from their numbers in each text."""
    num_items = sum(map(len, one))
    means = [np.concatenate(each).mean() for each in (one, other)]
    residuals = [
        (a - means[0]).sum() - (b - means[1]).sum() for a, b in zip(one, other, strict=True)
    ]
    correction = len(one) / (len(one) - 1)
    error = np.sqrt(correction * np.square(residuals).sum()) / num_items
    return means[0] - means[1], error


def test_components_are_compared_on_the_same_texts(wanted):
    result = evaluate(of_equinox(), AUTOENCODERS, batches(), progress=False)
    found = result.difference(*NAMES)
    texts = [list(zip(*wanted[name], strict=True)) for name in NAMES]
    for index, metric in {1: "ce_loss/with_reconstruction", 3: "top_1_agreement", 4: "l0"}.items():
        pair = difference_of_means(*(of_texts[index] for of_texts in texts))
        np.testing.assert_allclose(found[metric], pair, rtol=1e-4, err_msg=metric)
    assert all(np.isfinite(found["kl_div/with_reconstruction"]))


def test_all_together_and_the_mean_in_place_of_zeros():
    result = evaluate(
        of_equinox(), AUTOENCODERS, batches(), together=True, mean_ablation=True, progress=False
    )
    clean, reconstructed, ablated, *_ = joined(in_float64(is_together=True)[NAMES[0]])
    np.testing.assert_allclose(
        result.values["together/ce_loss_score"], score(clean, reconstructed, ablated), rtol=1e-4
    )
    for name in NAMES:
        assert result.values[f"ce_loss_score_mean/{name}"] < result.values[f"ce_loss_score/{name}"]


def transcoded_in_float64():
    """Mean losses of a model, whose layer a transcoder replaces, and the mean squared error."""
    losses, errors = {"source": [], "with_reconstruction": []}, []
    for tokens, mask in batches():
        for text, kept in zip(tokens, mask, strict=True):
            layer_input = EMBED[text]
            layer_output = np.tanh(layer_input @ MIX)
            decoded = np.maximum(layer_input @ ENCODERS[0] - 1, 0) @ DECODERS[0]
            both = kept[1:] & kept[:-1]
            for name, output in (("source", layer_output), ("with_reconstruction", decoded)):
                losses[name].append(losses_of((layer_input + output) @ OUT, text)[both])
            errors.append(((layer_output - decoded) ** 2).sum(-1)[kept])
    return {n: np.concatenate(each).mean() for n, each in losses.items()}, np.concatenate(
        errors
    ).mean()


def test_a_transcoder_reads_here_and_writes_there():
    embed, mix, out = (jnp.asarray(w, jnp.float32) for w in (EMBED, MIX, OUT))

    def model(tokens, intervene):
        x = intervene(embed[tokens], 0)
        return (x + intervene(jnp.tanh(x @ mix), 1)) @ out

    transcoder = {"layer": Component(dense(0), reads=0, writes=1)}
    values = evaluate(model, transcoder, batches(), together=True, progress=False).values
    losses, squared_error = transcoded_in_float64()
    for name, loss in losses.items():
        for where in (f"ce_loss/{name}/layer", f"together/ce_loss/{name}"):
            np.testing.assert_allclose(values[where], loss, rtol=1e-5, err_msg=where)
    np.testing.assert_allclose(values["mse/layer"], squared_error, rtol=1e-5)


@pytest.mark.exhaustive
def test_a_sweep_at_one_hook_point_has_the_values_of_each_alone():
    model, codes = of_equinox(), (few, dense)
    sweep = evaluate(model, in_one_place(*codes), batches(), progress=False).values
    for index, code in enumerate(codes):
        alone = evaluate(model, {"alone": Component(code(0), reads=0)}, batches(), progress=False)
        for name, value in alone.values.items():
            if name.endswith("/alone"):
                in_sweep = sweep[name.replace("alone", str(index))]
                np.testing.assert_allclose(in_sweep, value, rtol=1e-5, atol=1e-6, err_msg=name)


def in_numpy(code):
    """The array that sparse codes stand for."""
    if isinstance(code, jsm.TopKActivations):
        full = np.zeros((*code.values.shape[:-1], code.num_learned_features + 1))
        np.put_along_axis(full, np.asarray(code.indices), np.asarray(code.values), -1)
        return full[..., :-1]  # index -1 is padding
    if isinstance(code, jsm.SparseActivations):
        full = np.zeros((math.prod(code.shape[:-1]), code.shape[-1]))
        full[code.vector_indices, code.feature_indices] = code.values
        return full.reshape(code.shape)
    return np.asarray(code)


@pytest.mark.parametrize(
    ("codes", "kind"),
    [
        ((dense, dense), jax.Array),
        ((few, top_k), jsm.TopKActivations),
        ((flat, flat), jsm.SparseActivations),
        ((flat, few, dense), jax.Array),
    ],
)
def test_stacked_codes_are_those_of_each_component(codes, kind):
    activations = jnp.asarray(random.normal(size=(2, 5, WIDTH)), jnp.float32)
    each = [code(0)(activations)[0] for code in codes]
    together = stacked(each)
    assert isinstance(together, kind)
    np.testing.assert_array_equal(
        in_numpy(together), np.stack([in_numpy(code) for code in each], axis=-2)
    )


@pytest.mark.exhaustive
def test_on_a_mesh_resumed_and_stopped_it_is_the_same():
    model, parts = of_equinox(), list(batches())
    whole = evaluate(model, AUTOENCODERS, parts, progress=False)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    on_mesh = evaluate(model, AUTOENCODERS, parts, mesh=mesh, progress=False)
    begun = evaluate(model, AUTOENCODERS, parts, max_batches=1, progress=False)
    resumed = evaluate(model, AUTOENCODERS, parts[1:], state=begun.state, progress=False)
    again = evaluate(model, AUTOENCODERS, parts[1:], state=begun, progress=False)
    assert (again.about["batches"], again.about["texts"]) == ("3", "11")
    assert resumed.about["batches since it was resumed"] == "2"
    assert evaluate(model, AUTOENCODERS, [], state=again) is again
    known = evaluate(model, AUTOENCODERS, parts, state=again, target_standard_error=10.0)
    assert known is again
    for other in (on_mesh, resumed, again):
        for numbers, others in ((whole.values, other.values), (whole.errors, other.errors)):
            for name in numbers:
                np.testing.assert_allclose(others[name], numbers[name], rtol=1e-4, atol=1e-6)
    stopped = evaluate(model, AUTOENCODERS, parts, target_standard_error=10.0, progress=False)
    np.testing.assert_allclose(stopped.values["l0/first"], begun.values["l0/first"])


@pytest.mark.exhaustive
def test_batches_may_grow_and_hook_points_have_names():
    def named(tokens, intervene):
        return of_equinox()(tokens, lambda x, index: intervene(x, f"block_{index}"))

    autoencoders = {f"block_{index}": dense(index) for index in (1, 0)}
    parts = list(batches())
    whole = evaluate(named, autoencoders, parts, progress=False)
    in_another_order = evaluate(named, autoencoders, parts[::-1], progress=False)
    by_number = evaluate(of_equinox(), AUTOENCODERS, parts, progress=False)
    for index, name in enumerate(NAMES):
        assert whole.values[f"l0/block_{index}"] == by_number.values[f"l0/{name}"]
    np.testing.assert_allclose(
        in_another_order.values["ce_loss_score/block_0"],
        whole.values["ce_loss_score/block_0"],
        rtol=1e-5,
    )
    assert (whole.about["texts"], whole.about["batches"]) == ("11", "3")
    assert whole.about["tokens"] == str(sum(mask.sum() for _, mask in parts))
