"""Functions of dictionaries."""

import dataclasses
import json
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

import jax_sae_metrics as jsm
from compiled import Compiled
from cosines import MORE_THAN_A_BLOCK, cosines
from selection import all_of

GOLDEN = json.loads((pathlib.Path(__file__).parent / "data/saelens_synthetic.json").read_text())
INPUT_FEATURES = 8


def largest(cosines):
    """The largest entry of each row; NaN where there is none."""
    found = np.where(np.isnan(cosines), -np.inf, cosines).max(1)
    return np.where(found == -np.inf, np.nan, found)


def to_others(decoder):
    found = cosines(decoder, decoder)
    np.fill_diagonal(found, np.nan)
    return found


def mean_of_largest(a, b):
    found = largest(cosines(a, b))
    return np.nan if np.isnan(found).all() else np.nanmean(found)


def matches(learned, true):
    found = np.abs(cosines(learned, true))
    found = np.where(np.isnan(found), -1, found)
    return np.where(found.max(1) < 0, len(true), found.argmax(1))


def uniqueness(learned, true):
    return len(set(matches(learned, true)) - {len(true)}) / len(learned)


def rank(weights):
    values = np.sqrt(np.clip(np.linalg.eigvalsh(weights.T @ weights), 0, None))
    portions = values[values > 1e-9 * values.max()] / values.sum()
    return np.exp(-(portions * np.log(portions)).sum())


@dataclasses.dataclass(frozen=True)
class Case:
    """A function of one or two dictionaries, and the same in float64."""

    name: str
    function: Callable
    oracle: Callable
    num_dictionaries: int = 2
    same_shape: bool = False

    def draw(self, rng, num_features=37, num_others=23):
        """Draw rows: some are zero, and two are the same but for sign and length."""
        sizes = [num_features, num_features if self.same_shape else num_others]
        arrays = [rng.normal(size=(size, INPUT_FEATURES)) for size in sizes]
        for array in arrays:
            array[[3, 11]] = 0
            array[7] = -2 * array[8]
        return [array.astype(np.float32) for array in arrays[: self.num_dictionaries]]


CASES = [
    Case(
        "reappearance",
        lambda a, b: jsm.feature_reappearance(a, b, threshold=0.5),
        lambda a, b: largest(cosines(a, b)) >= 0.5,
    ),
    Case("max", jsm.max_cosine_similarity, lambda w: largest(to_others(w)), 1),
    Case(
        "max absolute",
        lambda w: jsm.max_cosine_similarity(w, absolute=True),
        lambda w: largest(np.abs(to_others(w))),
        1,
    ),
    Case(
        "encoder and decoder",
        jsm.encoder_decoder_cosine_similarity,
        lambda e, w: np.diag(cosines(e, w)),
        same_shape=True,
    ),
    Case("mean of max", jsm.mean_max_cosine_similarity, mean_of_largest),
    Case("matches", jsm.best_matching_features, matches),
    Case("uniqueness", jsm.feature_uniqueness, uniqueness),
    Case("effective rank", jsm.effective_rank, rank, 1),
]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def assert_equal(got, want):
    want = np.asarray(want)
    assert got.shape == want.shape
    if want.dtype.kind in "bi":
        assert got.dtype == (bool if want.dtype == bool else jnp.int32)
        np.testing.assert_array_equal(got, want)
    else:
        assert jnp.issubdtype(got.dtype, jnp.floating)
        assert got.dtype != jnp.bfloat16
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def placed(axis_type, spec):
    def run(function, *arrays):
        mesh = jax.make_mesh((8,), ("model",), axis_types=(axis_type,))
        arrays = [array[: len(array) // 8 * 8] for array in arrays]
        arrays = [jax.device_put(array, NamedSharding(mesh, spec)) for array in arrays]
        with jax.set_mesh(mesh):
            return jax.jit(function)(*arrays), arrays

    return run


def vmapped(function, *arrays):
    stacked = [jnp.stack([array[::-1], array]) for array in arrays]
    return jax.vmap(function)(*stacked)[1], arrays


RUNNERS = {
    "eager": lambda function, *arrays: (function(*arrays), arrays),
    "jit": lambda function, *arrays: (jax.jit(function)(*arrays), arrays),
    "vmap": vmapped,
    "features on an automatic mesh": placed(AxisType.Auto, P("model")),
    "features on an explicit mesh": placed(AxisType.Explicit, P("model")),
    "input features on an explicit mesh": placed(AxisType.Explicit, P(None, "model")),
}
DEFAULT_RUNNERS = ["eager", "features on an explicit mesh"]


@pytest.mark.parametrize("runner", all_of(RUNNERS, by_default=DEFAULT_RUNNERS))
@every_case
def test_equals_numpy(case, runner):
    arrays = [jnp.asarray(array) for array in case.draw(np.random.default_rng(0))]
    got, arrays = RUNNERS[runner](case.function, *arrays)
    assert_equal(got, case.oracle(*(np.asarray(array, np.float64) for array in arrays)))


@pytest.mark.parametrize(
    "dtype", [jnp.bfloat16, jnp.float16, jnp.float64], ids=lambda dtype: jnp.dtype(dtype).name
)
@every_case
def test_equals_numpy_at_every_dtype(case, dtype):
    with jax.enable_x64(dtype == jnp.float64):
        arrays = [jnp.asarray(array, dtype) for array in case.draw(np.random.default_rng(0))]
        got = case.function(*arrays)
        assert_equal(got, case.oracle(*(np.asarray(array, np.float64) for array in arrays)))
        if jnp.issubdtype(got.dtype, jnp.floating) and case.name != "uniqueness":
            assert got.dtype == (jnp.float64 if dtype == jnp.float64 else jnp.float32)


@every_case
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_lengths_that_float32_cannot_square(case, scale):
    arrays = case.draw(np.random.default_rng(0))
    got = case.function(*(jnp.asarray(array * np.float32(scale)) for array in arrays))
    assert_equal(got, case.oracle(*(np.float64(array) for array in arrays)))


@pytest.mark.parametrize(
    "num_features", all_of([4096, MORE_THAN_A_BLOCK], by_default=[MORE_THAN_A_BLOCK])
)
@every_case
def test_more_rows_than_are_searched_at_once(case, num_features):
    arrays = case.draw(np.random.default_rng(0), num_features, num_features)
    got = case.function(*(jnp.asarray(array) for array in arrays))
    assert_equal(got, case.oracle(*(np.float64(array) for array in arrays)))


SEARCHES = {
    "max": lambda w: jsm.max_cosine_similarity(w),
    "mean of max": lambda w: jsm.mean_max_cosine_similarity(w, w),
    "matches": lambda w: jsm.best_matching_features(w, w),
    "uniqueness": lambda w: jsm.feature_uniqueness(w, w),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_never_all_cosines_at_once(name):
    num_features = 8192
    weights = jax.ShapeDtypeStruct((num_features, 64), jnp.bfloat16)
    compiled = Compiled.of(jax.jit(SEARCHES[name]).lower(weights).compile())
    sizes = [array.size for i in compiled.instructions for array in i.results]
    assert max(sizes) <= num_features**2 / 4
    assert compiled.temporary_bytes < 4 * num_features**2 / 3


def test_a_block_is_at_least_a_row():
    many = jax.ShapeDtypeStruct((2**24 + 1, 2), jnp.float32)
    few = jax.ShapeDtypeStruct((3, 2), jnp.float32)
    assert jax.eval_shape(jsm.best_matching_features, few, many).shape == (3,)
    assert jax.eval_shape(jsm.mean_max_cosine_similarity, many, few).shape == ()


ONE, ZEROS = jnp.ones((1, 3)), jnp.zeros((4, 3))
UNDEFINED = {
    "no other row": (lambda: jsm.max_cosine_similarity(ONE), [np.nan]),
    "only zero rows beside it": (
        lambda: jsm.max_cosine_similarity(jnp.concatenate([ONE, ZEROS])),
        [np.nan] * 5,
    ),
    "zeros to others": (lambda: jsm.mean_max_cosine_similarity(ZEROS, ONE), np.nan),
    "to zeros": (lambda: jsm.mean_max_cosine_similarity(ONE, ZEROS), np.nan),
    "zeros left out": (
        lambda: jsm.mean_max_cosine_similarity(jnp.concatenate([ONE, ZEROS]), ONE),
        1.0,
    ),
    "no match for zeros": (lambda: jsm.best_matching_features(ZEROS, ONE), [1] * 4),
    "no match among zeros": (lambda: jsm.best_matching_features(ONE, ZEROS), [4]),
    "uniqueness of zeros": (lambda: jsm.feature_uniqueness(ZEROS, ONE), 0.0),
    "rank of zeros": (lambda: jsm.effective_rank(ZEROS), np.nan),
    "NaN is no zero": (
        lambda: jsm.mean_max_cosine_similarity(jnp.array([[jnp.nan, 1.0], [1.0, 0.0]]), jnp.eye(2)),
        np.nan,
    ),
}


@pytest.mark.parametrize("name", UNDEFINED)
def test_what_has_no_direction(name):
    function, want = UNDEFINED[name]
    got = function()
    assert_equal(got, np.asarray(want, np.int32 if got.dtype == jnp.int32 else None))


def test_no_cosine_exceeds_one():
    rows = jax.random.normal(jax.random.key(0), (512, 3))
    twice = jnp.concatenate([rows, 3 * rows])
    assert jnp.max(jsm.max_cosine_similarity(twice)) <= 1
    assert jnp.max(jsm.encoder_decoder_cosine_similarity(rows, 3 * rows)) <= 1
    assert jsm.mean_correlation_coefficient(rows, 3 * rows) <= 1


def test_saelens_measures_of_a_dictionary():
    decoder, true_features = (jnp.asarray(GOLDEN[name]) for name in ("decoder", "true_features"))
    value = jsm.mean_correlation_coefficient(decoder, true_features)
    assert value == pytest.approx(GOLDEN["expected"]["mean_correlation_coefficient"], rel=1e-5)
    value = jsm.mean_correlation_coefficient(true_features, decoder)
    want = GOLDEN["expected"]["mean_correlation_coefficient_reversed"]
    assert value == pytest.approx(want, rel=1e-5)
    value = jsm.feature_uniqueness(decoder, true_features)
    assert value == pytest.approx(GOLDEN["expected"]["feature_uniqueness"], rel=1e-5)
