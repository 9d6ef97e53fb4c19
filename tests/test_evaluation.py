"""An evaluation equals a loop over batches, components and tokens in float64."""

import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

import jax_sae_metrics as jsm
from jax_sae_metrics.evaluation import Component, Evaluation, evaluate
from jax_sae_metrics.evaluation.codes import stacked

VOCABULARY, WIDTH, FEATURES, SEQUENCE = 11, 8, 16, 10
NAMES = ("second", "first")  # in the order of the model, not of the alphabet
random = np.random.default_rng(0)
EMBED, MIX, OUT = (
    random.normal(size=shape)
    for shape in ((VOCABULARY, WIDTH), (WIDTH, WIDTH), (WIDTH, VOCABULARY))
)
ENCODERS = [random.normal(size=(WIDTH, FEATURES)) for _ in NAMES]
DECODERS = [np.linalg.pinv(encoder) for encoder in ENCODERS]


def forward(embed, mix, out, tokens, intervene, tanh):
    """Two hook points, with a nonlinear layer between them."""
    x = intervene(embed[tokens], 0)
    x = intervene(x + tanh(x @ mix), 1)
    return x @ out


class Module(eqx.Module):
    embed: jax.Array
    mix: jax.Array
    out: jax.Array

    def __call__(self, tokens, intervene):
        return forward(self.embed, self.mix, self.out, tokens, intervene, jnp.tanh)


def of_equinox():
    return Module(*(jnp.asarray(w, jnp.float32) for w in (EMBED, MIX, OUT)))


def of_a_function():
    weights = [jnp.asarray(w, jnp.float32) for w in (EMBED, MIX, OUT)]
    return lambda tokens, intervene: forward(*weights, tokens, intervene, jnp.tanh)


def of_flax():
    nnx = pytest.importorskip("flax.nnx", reason="flax is not installed")

    class Network(nnx.Module):
        def __init__(self):
            self.embed, self.mix, self.out = (
                nnx.Param(jnp.asarray(w, jnp.float32)) for w in (EMBED, MIX, OUT)
            )

        def __call__(self, tokens, intervene):
            weights = (self.embed[...], self.mix[...], self.out[...])
            return forward(*weights, tokens, intervene, jnp.tanh)

    network = Network()
    return lambda tokens, intervene: network(tokens, intervene)


MODELS = {"Equinox": of_equinox, "a function": of_a_function, "Flax": of_flax}


def dense(index):
    encoder, decoder = (jnp.asarray(w[index], jnp.float32) for w in (ENCODERS, DECODERS))

    def autoencode(activations):
        learned = jax.nn.relu(activations @ encoder - 1)
        return learned, learned @ decoder

    return autoencode


def top_k(index):
    def autoencode(activations):
        learned, decoded = dense(index)(activations)
        return jsm.TopKActivations(*jax.lax.top_k(learned, FEATURES), FEATURES), decoded

    return autoencode


def flat(index):
    def autoencode(activations):
        learned, decoded = dense(index)(activations)
        num_vectors = learned[..., 0].size
        vectors, features = np.indices((num_vectors, FEATURES)).reshape(2, -1)
        codes = jsm.SparseActivations(learned.reshape(-1), vectors, features, learned.shape)
        return codes, decoded

    return autoencode


def batches():
    """Three batches, the last of fewer texts; padding, and a masked token inside of a text."""
    for seed, num_texts in enumerate((4, 4, 3)):
        random = np.random.default_rng(seed)
        tokens = random.integers(0, VOCABULARY, (num_texts, SEQUENCE))
        mask = np.arange(SEQUENCE) < random.integers(4, SEQUENCE + 1, (num_texts, 1))
        mask[0, 2] = False
        yield tokens, mask


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


BY_DEFAULT = {("Equinox", dense), ("a function", flat), ("Flax", top_k)}


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


AUTOENCODERS = {name: dense(index) for index, name in enumerate(NAMES)}


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


def in_one_place(*codes):
    return {str(index): Component(code(0), reads=0) for index, code in enumerate(codes)}


def few(index):
    def autoencode(activations):
        learned, decoded = dense(index)(activations)
        return jsm.TopKActivations(*jax.lax.top_k(learned, 3), FEATURES), decoded

    return autoencode


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


def of_other_components():
    metric = jsm.PerComponent(jsm.ReconstructionScore(2), NAMES[::-1])
    return Evaluation(metric, metric.init())


def one_text_at_a_time(tokens, intervene):
    return jax.vmap(lambda text: of_equinox()(text, intervene))(tokens)


def test_an_error_in_an_autoencoder_names_it():
    wrong = {"narrow": Component(lambda activations: activations @ jnp.ones((3, 3)), reads=0)}
    with pytest.raises(TypeError) as caught:
        evaluate(of_equinox(), wrong, batches())
    assert any("In the autoencoder 'narrow'" in note for note in caught.value.__notes__)


def half(index):
    return Component(lambda activations: (activations, activations[..., :4]), reads=index)


def test_weights_in_numpy_are_named():
    embed = np.float32(EMBED)
    with pytest.raises(jax.errors.TracerArrayConversionError) as caught:
        evaluate(lambda tokens, intervene: intervene(embed[tokens], 0), {"a": dense(0)}, batches())
    assert any("make them JAX arrays" in note for note in caught.value.__notes__)


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


WRONG = {
    "no autoencoders": (lambda: evaluate(of_equinox(), {}, batches()), "dictionary of functions"),
    "no batches": (lambda: evaluate(of_equinox(), AUTOENCODERS, []), "at least one batch"),
    "no tokens": (
        lambda: evaluate(of_equinox(), AUTOENCODERS, [np.ones((2, 3))]),
        r"integer tokens \[batch, sequence\], got float64\[2, 3\]",
    ),
    "a mask of numbers": (
        lambda: evaluate(of_equinox(), AUTOENCODERS, [(np.ones((2, 3), int), np.ones((2, 3)))]),
        r"boolean mask of shape \(2, 3\)",
    ),
    "too few hook points": (
        lambda: evaluate(of_equinox(), AUTOENCODERS | {"third": dense(0)}, batches()),
        r"for hook points \[0, 1\], and the autoencoders are \['second', 'first', 'third'\]",
    ),
    "what is written comes first": (
        lambda: evaluate(of_equinox(), {"mlp": Component(dense(0), reads=1, writes=0)}, batches()),
        "'mlp' reads hook point 1, which the model comes to after 0",
    ),
    "two in one place at once": (
        lambda: evaluate(of_equinox(), in_one_place(dense, dense), batches(), together=True),
        "together: '0' and another component both write hook point 0",
    ),
    "another width": (
        lambda: evaluate(of_equinox(), {"a": half(0), "b": half(1)}, batches()),
        r"activations of 'a' of shape \(4, 10, 8\), as at hook point 0, got \(4, 10, 4\)",
    ),
    "no function": (lambda: Component(3, reads=0), "expected a function of activations"),
    "no hook point": (lambda: Component(dense(0), reads=True), "reads: expected the number or the"),
    "hook points without a component": (
        lambda: evaluate(of_equinox(), {"first": dense(0)}, batches()),
        r"for hook points \[0, 1\], and the autoencoders are \['first'\]",
    ),
    "a hook point that is not there": (
        lambda: evaluate(of_equinox(), {"a": Component(dense(0), reads=7)}, batches()),
        r"'a' is at 7, and the model calls intervene for hook points \[0, 1\]",
    ),
    "another result": (
        lambda: evaluate(of_equinox(), AUTOENCODERS, batches(), state=of_other_components()),
        r"it is of the components \('first', 'second'\), and the autoencoders are",
    ),
    "a model under vmap": (
        lambda: evaluate(one_text_at_a_time, AUTOENCODERS, batches()),
        r"for tokens \(4, 10\), got shape \(10, 8\). In a model of one text, apply jax.vmap",
    ),
    "no codes": (
        lambda: evaluate(of_equinox(), {"a": Component(lambda x: x, reads=0)}, batches()),
        r"expected \(codes, decoded\) of 'a', got \w*Tracer",
    ),
}


@pytest.mark.parametrize(("call", "says"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said(call, says):
    with pytest.raises((TypeError, ValueError), match=says):
        call()
