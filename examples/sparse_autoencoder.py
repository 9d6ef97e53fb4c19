"""Sparse autoencoders with one hidden layer, and the activations that they are trained on.

`train_sae.py` and `pareto.py` share them. Nothing here knows about metrics.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from byte_transformer import Residual, Tokens, Transformer

Activations = Float[Array, "batch sequence component d_model"]
Learned = Float[Array, "*batch learned_feature"]
LearnedOfEach = Float[Array, "batch sequence component learned_feature"]


class Source(eqx.Module):
    """Where the autoencoders' activations come from: a transformer that is no longer trained.

    The activations after each block are divided by one number, measured on some tokens, so that
    they have unit variance. A coefficient of a loss then means the same after every block, and L2
    is the portion of variance unexplained.
    """

    transformer: Transformer
    scale: Float[Array, "block 1"]
    mean: Float[Array, "block d_model"]

    def __init__(self, transformer: Transformer, tokens: Tokens) -> None:
        residual = transformer.residual_stream(tokens)
        variance = jnp.var(residual, axis=(0, 1))
        self.transformer = transformer
        self.scale = jnp.sqrt(jnp.mean(variance, axis=-1, keepdims=True))
        self.mean = jnp.mean(residual, axis=(0, 1)) / self.scale

    def activations(self, tokens: Tokens) -> Activations:
        """The scaled residual stream, with a component for each block."""
        return self.transformer.residual_stream(tokens) / self.scale


class SparseAutoencoder(eqx.Module):
    """A sparse autoencoder, or one per component: then with a component axis in front."""

    encoder: Float[Array, "*component d_model learned_feature"]
    encoder_bias: Float[Array, "*component learned_feature"]
    decoder: Float[Array, "*component learned_feature d_model"]
    decoder_bias: Float[Array, "*component d_model"]

    def __init__(
        self, mean: Float[Array, " d_model"], num_learned_features: int, key: PRNGKeyArray
    ) -> None:
        (d_model,) = mean.shape
        directions = jax.random.normal(key, (num_learned_features, d_model))
        self.decoder = directions / jnp.linalg.norm(directions, axis=-1, keepdims=True)
        # Half of the features fire at first. With this scale, they decode to about what was
        # encoded.
        self.encoder = self.decoder.T * (2 * d_model / num_learned_features)
        self.encoder_bias = jnp.zeros(num_learned_features)
        self.decoder_bias = mean

    def __call__(self, source: Float[Array, "*batch d_model"]) -> tuple[Learned, Array]:
        """The learned and the decoded activations."""
        learned = jax.nn.relu(self.pre_activations(source))
        return learned, self.decode(learned)

    def pre_activations(self, source: Float[Array, "*batch d_model"]) -> Learned:
        """What features are before it is decided which of them are active."""
        return (source - self.decoder_bias) @ self.encoder + self.encoder_bias

    def decode(self, learned: Learned) -> Float[Array, "*batch d_model"]:
        """The activations that the features stand for."""
        return learned @ self.decoder + self.decoder_bias


def autoencode(saes: SparseAutoencoder, source: Activations) -> tuple[LearnedOfEach, Activations]:
    """The learned and the decoded activations of all components."""
    return jax.vmap(SparseAutoencoder.__call__, in_axes=(0, -2), out_axes=-2)(saes, source)


def with_unit_decoder(saes: SparseAutoencoder) -> SparseAutoencoder:
    """Every feature's decoder row at unit norm, since longer ones would evade a penalty."""
    norms = jnp.linalg.norm(saes.decoder, axis=-1, keepdims=True)
    return eqx.tree_at(lambda saes: saes.decoder, saes, saes.decoder / norms)


class InModel(eqx.Module):
    """An autoencoder of scaled activations, as one of the activations in the model."""

    autoencode: Any
    scale: Float[Array, " 1"]

    def __call__(self, residual: Residual) -> tuple[Learned, Residual]:
        """The learned and the decoded activations; the learned ones remain scaled."""
        learned, decoded = self.autoencode(residual / self.scale)
        return learned, decoded * self.scale
