"""Small models with two hook points, and autoencoders for both."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_sae_metrics as jsm
from jax_sae_metrics.evaluation import Component

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


AUTOENCODERS = {name: dense(index) for index, name in enumerate(NAMES)}


def few(index):
    def autoencode(activations):
        learned, decoded = dense(index)(activations)
        return jsm.TopKActivations(*jax.lax.top_k(learned, 3), FEATURES), decoded

    return autoencode


def in_one_place(*codes):
    return {str(index): Component(code(0), reads=0) for index, code in enumerate(codes)}
