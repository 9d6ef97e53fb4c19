"""The error of explained variance on activations laid out as language models lay them out."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

import jax_sae_metrics as jsm
from error_parts import covariance_of

D = 32


def activations_of(kind, batches=8, texts=64, tokens=128, seed=0):
    """Source and decoded activations `[batch, text, token, D]`, laid out as language models do."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(batches, texts, tokens, D))
    name, _, size = kind.partition(" ")
    if name == "first":
        direction = rng.normal(size=D) / np.sqrt(D)
        x[:, :, 0] = float(size) * (direction + 0.1 * rng.normal(size=(batches, texts, D)))
    elif name == "texts":
        x += float(size) * rng.normal(size=(batches, texts, 1, D))
    elif name == "drift":
        x += float(size) * rng.normal(size=(batches, 1, 1, D))
    elif name == "sorted":
        x = x.reshape(-1, D)[np.argsort(x[..., 0].ravel())].reshape(x.shape)
    y = 0.8 * x + 0.3 * abs(x) * rng.normal(size=x.shape)
    return x.astype(np.float32), y.astype(np.float32)


def exact_error(x, y):
    """The standard error about the mean of all vectors, in float64."""
    x, y = (array.reshape(-1, D).astype(np.float64) for array in (x, y))
    parts = ((x - y) ** 2).sum(-1), ((x - x.mean(0)) ** 2).sum(-1)
    return np.sqrt(covariance_of([parts])[0, 0])


@jax.jit
def error_of(batches):
    metric = jsm.ExplainedVariance(D)

    def step(state, batch):
        source, decoded = batch
        inputs = {"source_activations": source, "decoded_activations": decoded}
        return metric.update(state, **inputs), None

    return metric.standard_error(jax.lax.scan(step, metric.init(), batches)[0])


@pytest.mark.parametrize(
    ("kind", "rtol"),
    {
        "plain": 1e-3,
        "first 20": 1e-3,
        "first 100": 1e-3,
        "first 1000": 1e-3,
        "drift 0.1": 0.01,
        "drift 0.3": 0.04,
        "sorted": 0.01,
    }.items(),
)
def test_the_layout_of_explained_variance_does_not_matter(kind, rtol):
    x, y = activations_of(kind)
    np.testing.assert_allclose(error_of((x, y)), exact_error(x, y), rtol=rtol)


@pytest.mark.parametrize("kind", ["first 20", "first 1000"])
def test_massive_first_tokens_cost_no_digits(kind):
    """Not of the values either: sums are about a few vectors, of which few are first tokens."""
    x, y = activations_of(kind, batches=1)
    metric = jsm.FractionVarianceUnexplained(D)
    inputs = {"source_activations": x[0], "decoded_activations": y[0]}
    state = jax.jit(metric.update)(metric.init(), **inputs)
    x, y = (array.reshape(-1, D).astype(np.float64) for array in (x, y))
    exact = ((x - y) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
    np.testing.assert_allclose(metric.compute(state), exact, rtol=1e-6)


@pytest.mark.parametrize("kind", ["drift 1", "drift 3"])
def test_an_error_that_batches_do_not_resolve_is_nan(kind):
    x, y = activations_of(kind)
    assert np.isnan(error_of((x, y)))
    # In one batch, it is resolved.
    one = [array.reshape(1, -1, D) for array in (x, y)]
    np.testing.assert_allclose(error_of(one), exact_error(x, y), rtol=1e-3)


@pytest.mark.parametrize("kind", ["drift 3", "first 1000"])
def test_a_known_mean_makes_the_error_right_for_any_batches(kind):
    x, y = activations_of(kind, batches=64, texts=1, tokens=8)
    mean = x.reshape(-1, D).mean(0, dtype=np.float64).astype(np.float32)
    metric = jsm.FractionVarianceUnexplained(D)
    state, step = metric.init(), jax.jit(metric.update)
    for source, decoded in zip(x, y, strict=True):
        inputs = {"source_activations": source, "decoded_activations": decoded}
        state = step(state, **inputs, source_mean=mean)
    np.testing.assert_allclose(metric.standard_error(state), exact_error(x, y), rtol=1e-3)
    far = metric.update(metric.init(), **inputs, source_mean=mean + 1000)
    assert np.isnan(metric.standard_error(far))


@pytest.mark.parametrize("spec", [P("data"), P(None, "data")], ids=["texts", "tokens"])
@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_massive_first_tokens_on_sharded_arrays(spec, axis_type):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(axis_type,))
    x, y = (array[0] for array in activations_of("first 100", batches=1))
    metric = jsm.ExplainedVariance(D)
    with jax.set_mesh(mesh):
        placed = [jax.device_put(array, NamedSharding(mesh, spec)) for array in (x, y)]
        state = jax.jit(metric.update)(
            metric.init(sharding=NamedSharding(mesh, P())),
            source_activations=placed[0],
            decoded_activations=placed[1],
        )
        error = jax.jit(metric.standard_error)(state)
    np.testing.assert_allclose(error, exact_error(x, y), rtol=1e-3)


@pytest.mark.parametrize("shift", [0.3, 1, 3])
def test_over_texts_an_error_is_right_or_nan(shift):
    metric = jsm.FractionVarianceUnexplained(D, clusters="prompts")
    are_known = set()
    for texts, batches in ((8, 16), (32, 4), (64, 4), (128, 4)):
        x, y = activations_of(f"texts {shift}", batches, texts, tokens=16)
        whole = [np.float64(array).reshape(-1, *x.shape[2:]) for array in (x, y)]
        parts = ((whole[0] - whole[1]) ** 2, (whole[0] - whole[0].mean((0, 1))) ** 2)
        exact = np.sqrt(covariance_of([[part.sum((1, 2)) for part in parts]])[0, 0])
        mean = np.float32(whole[0].mean((0, 1)))
        for given, rtol in (({}, 0.1), ({"source_mean": mean}, 1e-3)):
            state, step = metric.init(), jax.jit(metric.update)
            for source, decoded in zip(x, y, strict=True):
                inputs = {"source_activations": source, "decoded_activations": decoded}
                state = step(state, **inputs, **given)
            error = metric.standard_error(state)
            is_known = not np.isnan(error)
            assert is_known or not given
            if is_known:
                np.testing.assert_allclose(error, exact, rtol=rtol)
            are_known.add(is_known)
    # The test sees both sides of the bound.
    assert are_known == ({True} if shift < 1 else {True, False})
