"""Dictionaries that are refused, with a message that says what to change."""

import re

import jax.numpy as jnp
import pytest

import jax_sae_metrics as jsm

ONE = jnp.ones((1, 3))
TWO = [
    jsm.mean_max_cosine_similarity,
    jsm.mean_correlation_coefficient,
    jsm.best_matching_features,
    jsm.feature_uniqueness,
    jsm.feature_reappearance,
    jsm.encoder_decoder_cosine_similarity,
]
EVERY = [jsm.max_cosine_similarity, jsm.effective_rank, *TWO]
matrix = jnp.ones((4, 3))


@pytest.mark.parametrize("function", EVERY, ids=lambda function: function.__name__)
@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        (jnp.ones((4, 3), jnp.int32), TypeError, "expected a floating-point dtype, got int32"),
        (jnp.ones(3), ValueError, "expected shape [feature, input_feature]"),
        (jnp.ones((2, 4, 3)), ValueError, "Call under `jax.vmap` for an axis of models"),
        (jnp.ones((0, 3)), ValueError, "got shape (0, 3)"),
    ],
    ids=["integers", "a vector", "an axis of models", "no rows"],
)
def test_a_wrong_dictionary(function, wrong, error, says):
    others = [matrix] if function in TWO else []
    with pytest.raises(error, match=re.escape(says)):
        function(wrong, *others)
    if others:
        with pytest.raises(error, match=re.escape(says)):
            function(matrix, wrong)


@pytest.mark.parametrize("function", TWO, ids=lambda function: function.__name__)
def test_dictionaries_of_different_widths(function):
    with pytest.raises(ValueError, match=r"got \(4, 3\) and \(3, 4\). Transpose"):
        function(matrix, matrix.T)


def test_an_encoder_of_another_number_of_features():
    with pytest.raises(ValueError, match=r"encoder and decoder .* got \(4, 3\) and \(1, 3\)"):
        jsm.encoder_decoder_cosine_similarity(matrix, ONE)


@pytest.mark.parametrize("threshold", [1.5, -2.0])
def test_a_cosine_is_at_most_1(threshold):
    with pytest.raises(ValueError, match="threshold: expected a Python number of at least -1"):
        jsm.feature_reappearance(matrix, matrix, threshold)
