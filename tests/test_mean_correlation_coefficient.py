"""The best assignment of the rows of one dictionary to the rows of another."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

import jax_sae_metrics as jsm
from cosines import MORE_THAN_A_BLOCK, cosines

ONE, ZEROS = jnp.ones((1, 3)), jnp.zeros((4, 3))


def best_assignment(a, b):
    """The best of all assignments, tried one by one."""
    found = np.abs(cosines(a, b))
    found = found if len(a) <= len(b) else found.T
    rows = range(len(found))
    return max(
        np.mean([found[row, column] for row, column in zip(rows, columns, strict=True)])
        for columns in itertools.permutations(range(found.shape[1]), len(found))
    )


@pytest.mark.parametrize(
    "dtype", [jnp.float32, jnp.bfloat16], ids=lambda dtype: jnp.dtype(dtype).name
)
@pytest.mark.parametrize("sizes", [(4, 6), (6, 4), (5, 5), (1, 3)])
def test_mean_correlation_coefficient_is_the_best_of_all_assignments(sizes, dtype):
    rng = np.random.default_rng(0)
    a, b = (jnp.asarray(rng.normal(size=(size, 3)), dtype) for size in sizes)
    want = best_assignment(*(np.asarray(array, np.float64) for array in (a, b)))
    for zeros in ([], [[0.0] * 3]):
        padded = jnp.concatenate([a, jnp.asarray(zeros, dtype).reshape(-1, 3)])
        value = jsm.mean_correlation_coefficient(padded, b)
        assert isinstance(value, float)
        np.testing.assert_allclose(value, want, rtol=1e-5)


def test_mean_correlation_coefficient_of_more_than_a_block():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(MORE_THAN_A_BLOCK, 16)).astype(np.float32)
    signs = rng.choice([-1, 1], size=(MORE_THAN_A_BLOCK, 1)).astype(np.float32)
    shuffled = jnp.asarray(rng.permutation(rows * signs))
    assert jsm.mean_correlation_coefficient(jnp.asarray(rows), shuffled) == pytest.approx(1)


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_mean_correlation_coefficient_of_placed_arrays(axis_type):
    rng = np.random.default_rng(0)
    a, b = (jnp.asarray(rng.normal(size=(size, 8)), jnp.float32) for size in (8, 16))
    want = jsm.mean_correlation_coefficient(a, b)
    mesh = jax.make_mesh((8,), ("model",), axis_types=(axis_type,))
    for spec in (P("model"), P(None, "model")):
        with jax.set_mesh(mesh):
            on_mesh = (jax.device_put(array, NamedSharding(mesh, spec)) for array in (a, b))
            assert jsm.mean_correlation_coefficient(*on_mesh) == pytest.approx(want)


def test_mean_correlation_coefficient_of_what_has_no_direction():
    nan = jnp.array([[jnp.nan, 1.0, 1.0], [1.0, 0.0, 0.0]])
    assert np.isnan(jsm.mean_correlation_coefficient(ZEROS, ONE))
    assert np.isnan(jsm.mean_correlation_coefficient(ONE, ZEROS))
    assert np.isnan(jsm.mean_correlation_coefficient(nan, ONE))


@pytest.mark.parametrize("traced", [jax.jit, jax.vmap, jax.grad], ids=["jit", "vmap", "grad"])
def test_mean_correlation_coefficient_is_not_traced(traced):
    with pytest.raises(TypeError, match=r"^a: .* on the host .* Call it outside of `jax.jit`"):
        traced(lambda a: jsm.mean_correlation_coefficient(a, ONE))(jnp.ones((2, 2, 3)))
