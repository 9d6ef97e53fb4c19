"""The examples that activate a feature most, in every form of activations, and from everywhere."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_sae_metrics as jsm
from cases_activations import top_activating_examples
from learned_activations import FlatInside, dense_form, flat_form, top_k_form
from runners import RUNNERS

FEATURES, EXAMPLES = 6, 5


def draw(num_vectors, seed=0):
    """Draw small whole numbers, so that many are equal, and ids that are not in order."""
    rng = np.random.default_rng(seed)
    activations = rng.integers(-2, 4, (num_vectors, FEATURES)).astype(np.float32)
    activations[:, -1] = -1
    activations[1:, -2] = 0
    return activations, rng.permutation(num_vectors).astype(np.int32)


@pytest.mark.parametrize("form", [dense_form, top_k_form, flat_form])
@pytest.mark.parametrize("num_components", [None, 2])
def test_ties_and_few_examples(form, num_components):
    activations, ids = draw(40)
    mask = np.random.default_rng(1).random(40) < 0.7
    activations[~mask] = np.nan
    metric = jsm.TopActivatingExamples(FEATURES, EXAMPLES, num_components)
    update, state = jax.jit(metric.update), metric.init()
    for part in (slice(0, 3), slice(3, 40)):
        learned = activations[part]
        if num_components is not None:
            learned = np.stack([learned, learned[:, ::-1]], axis=1)
        inputs = {"example_ids": ids[part], "mask": jnp.asarray(mask[part])}
        state = update(state, learned_activations=form(jnp.asarray(learned)), **inputs)
    value = metric.compute(state)
    wanted = top_activating_examples(activations[mask].astype(float), ids[mask])
    for name, want in wanted.items():
        want = want if num_components is None else np.stack([want, want[::-1]])
        np.testing.assert_array_equal(value[name], want, err_msg=name)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("runner", ["shard_map checked", "explicit mesh", "all_reduce checked"])
def test_entries_of_many_devices(runner, flat):
    metric = jsm.TopActivatingExamples(FEATURES, EXAMPLES)
    batches, everything = [], []
    for seed in range(2):
        activations, ids = draw(64, seed)
        everything.append((activations, ids))
        learned = top_k_form(jnp.asarray(activations))
        batches.append({"learned_activations": learned, "example_ids": jnp.asarray(ids)})
    value = RUNNERS[runner](FlatInside(metric) if flat else metric, batches)
    activations, ids = map(np.concatenate, zip(*everything, strict=True))
    for name, want in top_activating_examples(activations.astype(float), ids).items():
        np.testing.assert_array_equal(value[name], want, err_msg=name)


def test_micro_batches():
    metric = jsm.TopActivatingExamples(FEATURES, EXAMPLES)
    activations, ids = draw(20)
    parts = [
        metric.observe(learned_activations=activations[part], example_ids=ids[part])
        for part in (slice(0, 4), slice(4, 20))
    ]
    value = metric.compute(metric.accumulate(metric.init(), metric.combine(*parts)))
    for name, want in top_activating_examples(activations.astype(float), ids).items():
        np.testing.assert_array_equal(value[name], want, err_msg=name)


DTYPES = {
    "float32": (jnp.float32, contextlib.nullcontext),
    "bfloat16": (jnp.bfloat16, contextlib.nullcontext),
    "x64": (jnp.float64, lambda: jax.enable_x64(True)),
}


@pytest.mark.parametrize("form", [dense_form, top_k_form, flat_form])
@pytest.mark.parametrize(("dtype", "x64"), DTYPES.values(), ids=DTYPES)
def test_denormals_and_nan_fire_nowhere_and_ties_are_of_float32(dtype, x64, form):
    smallest = 2.0**-126
    activations = [[1e-39, 1 + 1e-12], [smallest, 1 + 2e-12], [np.nan, 1], [-1, -np.inf]]
    metric = jsm.TopActivatingExamples(2, 2)
    with x64():
        inputs = {
            "learned_activations": form(jnp.asarray(activations, dtype)),
            "example_ids": jnp.array([8, 7, 6, 5]),
        }
        value = metric.compute(jax.jit(metric.update)(metric.init(), **inputs))
    np.testing.assert_array_equal(value["activations"], [[smallest, -np.inf], [1, 1]])
    np.testing.assert_array_equal(value["example_ids"], [[7, -1], [6, 7]])


@pytest.mark.parametrize(
    ("error", "ids", "says"),
    [
        (TypeError, np.ones(3, np.float32), "example_ids: expected an integer dtype"),
        (ValueError, np.ones((3, 1), np.int32), "one integer for each vector"),
        (ValueError, np.array([0, 1, 2**31]), "integers that int32 can hold"),
        (ValueError, np.array([0, 1, 2**31], np.uint32), "integers that int32 can hold"),
    ],
)
def test_wrong_ids(error, ids, says):
    metric = jsm.TopActivatingExamples(FEATURES, EXAMPLES)
    with pytest.raises(error, match=says):
        metric.update(metric.init(), learned_activations=jnp.ones((3, FEATURES)), example_ids=ids)
