"""Of many simulated evaluations whose truth is known, 95% of the 95% intervals contain it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_sae_metrics as jsm

NUM_EVALUATIONS, BATCHES, TEXTS, TOKENS, D = 4000, 4, 64, 8, 8
SHAPE = (BATCHES, TEXTS, TOKENS)
# 95% of a normal distribution, in standard deviations.
WITHIN = 1.959964

BIASES, NOISE = jnp.array([0.7, 0.75]), 0.5


def reconstructions(key, x, noise):
    """Two dictionaries on the same activations, `[..., component, D]`, with common errors too."""
    common, own = jax.random.split(key)
    errors = 0.5 * jax.random.normal(common, (*x.shape[:-1], 1, D))
    errors = errors + 0.3 * jax.random.normal(own, (*x.shape[:-1], 2, D))
    biases = BIASES.reshape(*(1 for _ in SHAPE), 2, 1)
    y = biases * x[..., None, :] + noise[..., None, None] * errors
    return {
        "source_activations": jnp.broadcast_to(x[..., None, :], y.shape),
        "decoded_activations": y,
    }


def squared_error(squared_norm, squared_noise):
    """Expectations of the squared error of both dictionaries."""
    return (1 - np.asarray(BIASES)) ** 2 * squared_norm + D * (0.5**2 + 0.3**2) * squared_noise


def independent_tokens(key):
    of_source, of_errors = jax.random.split(key)
    x = jax.random.normal(of_source, (*SHAPE, D))
    return reconstructions(of_errors, x, jnp.full(SHAPE, NOISE))


def clustered_texts(key):
    """Tokens of one text share a direction, and how hard they are."""
    of_text, of_token, of_noise, of_errors = jax.random.split(key, 4)
    x = jax.random.normal(of_text, (*SHAPE[:2], 1, D)) + jax.random.normal(of_token, (*SHAPE, D))
    noise = NOISE * jnp.exp(0.25 * jax.random.normal(of_noise, (*SHAPE[:2], 1)))
    return reconstructions(of_errors, x, jnp.broadcast_to(noise, SHAPE))


def massive_first_tokens(key):
    """The first token of every text is 100 times as long, and about the same everywhere."""
    of_source, of_errors = jax.random.split(key)
    x = jax.random.normal(of_source, (*SHAPE, D))
    x = x.at[..., 0, :].multiply(10.0).at[..., 0, 0].add(100.0)
    return reconstructions(of_errors, x, jnp.full(SHAPE, NOISE))


def truths(name):
    """The fractions of variance unexplained and squared errors of both dictionaries."""
    if name == "independent_tokens":
        squared_norm, variance, squared_noise = D, D, NOISE**2
    elif name == "clustered_texts":
        squared_norm, variance, squared_noise = 2 * D, 2 * D, NOISE**2 * np.exp(2 * 0.25**2)
    else:
        squared_norm = (100**2 + 100 * D + (TOKENS - 1) * D) / TOKENS
        variance, squared_noise = squared_norm - (100 / TOKENS) ** 2, NOISE**2
    errors = squared_error(squared_norm, squared_noise)
    return {"fvu": errors / variance, "mse": errors}


SIMULATIONS = {f.__name__: f for f in (independent_tokens, clustered_texts, massive_first_tokens)}


def metrics_over(clusters):
    return jsm.MetricCollection(
        {
            "fvu": jsm.FractionVarianceUnexplained(D, 2, clusters=clusters),
            "mse": jsm.L2ReconstructionLoss(2, "sum", clusters=clusters),
        }
    )


@functools.partial(jax.jit, static_argnums=(0, 1))
def evaluations(name, clusters, keys):
    """Values, errors and paired differences of each simulated evaluation."""
    metrics = metrics_over(clusters)

    def evaluate(key):
        def step(state, batch):
            return metrics.update(state, **batch), None

        state, _ = jax.lax.scan(step, metrics.init(), SIMULATIONS[name](key))
        differences = jsm.difference(metrics, state, 0, 1)
        return metrics.compute(state), metrics.standard_error(state), differences

    return jax.lax.map(evaluate, keys, batch_size=100)


def portion_covered(values, errors, truth):
    covered = np.abs(np.float64(values) - truth) <= WITHIN * np.float64(errors)
    return covered.mean(axis=0)


CASES = [
    ("independent_tokens", "items"),
    ("clustered_texts", "prompts"),
    ("massive_first_tokens", "prompts"),
]


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "clusters"), CASES)
def test_intervals_contain_the_truth_as_often_as_they_say(name, clusters):
    keys = jax.random.split(jax.random.key(0), NUM_EVALUATIONS)
    values, errors, differences = evaluations(name, clusters, keys)
    for metric, truth in truths(name).items():
        portions = portion_covered(values[metric], errors[metric], truth)
        of_difference = portion_covered(*differences[metric], truth[0] - truth[1])
        for portion in (*portions, of_difference):
            assert 0.94 <= portion <= 0.96, (metric, portions, of_difference)


@pytest.mark.exhaustive
def test_tokens_of_one_text_are_not_independent():
    """What `clusters="items"` gives for texts: intervals that are too narrow."""
    keys = jax.random.split(jax.random.key(0), NUM_EVALUATIONS)
    values, errors, _ = evaluations("clustered_texts", "items", keys)
    for metric, truth in truths("clustered_texts").items():
        assert np.all(portion_covered(values[metric], errors[metric], truth) < 0.9), metric


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", SIMULATIONS)
def test_the_truth_is_true(name):
    """The mean of all values is what the formulas say.

    A ratio of sums over 256 texts is biased by a part of its error.
    """
    keys = jax.random.split(jax.random.key(1), NUM_EVALUATIONS)
    values, errors, _ = evaluations(name, "prompts", keys)
    for metric, truth in truths(name).items():
        mean, error = (np.float64(each[metric]).mean(0) for each in (values, errors))
        np.testing.assert_array_less(np.abs(mean - truth), 0.15 * error, err_msg=metric)
