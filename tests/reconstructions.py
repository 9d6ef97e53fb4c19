"""Metrics of reconstructed activations by name, run over batches of them."""

import jax
import numpy as np

import jax_sae_metrics as jsm
from cases_reconstruction import CASES, DEFINITIONS, explained

BY_NAME = {case.name: case for case in CASES}


@jax.jit
def update(metric, state, inputs):
    return metric.update(state, **inputs)


@jax.jit
def value_of(metric, state):
    return metric.compute(state)


def run(metric, *batches):
    """The state after batches of source and decoded activations, with a mask or without."""
    state = metric.init()
    for source, decoded, *mask in batches:
        inputs = {"source_activations": source, "decoded_activations": decoded}
        inputs = {name: np.asarray(array, np.float32) for name, array in inputs.items()}
        state = update(metric, state, inputs | ({"mask": np.asarray(*mask)} if mask else {}))
    return state


def compute(metric, *batches):
    return value_of(metric, run(metric, *batches))


def explained_variance(definition):
    return jsm.ExplainedVariance(2, definition=definition)


def assert_all_close(values, expected, **tolerances):
    assert values.keys() == expected.keys()
    for name, value in values.items():
        np.testing.assert_allclose(value, expected[name], **tolerances, err_msg=name)


ORACLES = {"pooled": explained} | DEFINITIONS


def noisy(num_vectors, means, seed=0):
    """Draw with standard deviation 1 about the means, an error of 0.3 and a bias of 0.1."""
    rng = np.random.default_rng(seed)
    source = np.asarray(means) + rng.normal(size=(num_vectors, len(means)))
    decoded = source + 0.1 + 0.3 * rng.normal(size=source.shape)
    return source.astype(np.float32), decoded.astype(np.float32)
