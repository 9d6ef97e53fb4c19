"""What is wrong in an evaluation is said in words that tell what to do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_sae_metrics as jsm
from evaluated_models import (
    AUTOENCODERS,
    EMBED,
    NAMES,
    batches,
    dense,
    in_one_place,
    of_equinox,
)
from jax_sae_metrics.evaluation import Component, Evaluation, evaluate


def of_other_components():
    metric = jsm.PerComponent(jsm.ReconstructionScore(2), NAMES[::-1])
    return Evaluation(metric, metric.init())


def one_text_at_a_time(tokens, intervene):
    return jax.vmap(lambda text: of_equinox()(text, intervene))(tokens)


def half(index):
    return Component(lambda activations: (activations, activations[..., :4]), reads=index)


def test_an_error_in_an_autoencoder_names_it():
    wrong = {"narrow": Component(lambda activations: activations @ jnp.ones((3, 3)), reads=0)}
    with pytest.raises(TypeError) as caught:
        evaluate(of_equinox(), wrong, batches())
    assert any("In the autoencoder 'narrow'" in note for note in caught.value.__notes__)


def test_weights_in_numpy_are_named():
    embed = np.float32(EMBED)
    with pytest.raises(jax.errors.TracerArrayConversionError) as caught:
        evaluate(lambda tokens, intervene: intervene(embed[tokens], 0), {"a": dense(0)}, batches())
    assert any("make them JAX arrays" in note for note in caught.value.__notes__)


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
