"""Every platform's form keeps one contract (see `jax_sae_metrics/_reductions/__init__.py`)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec as P

import jax_sae_metrics as jsm
from jax_sae_metrics._reductions import Reduction, Vectors, item_positions
from jax_sae_metrics._reductions.centre import near_mean
from jax_sae_metrics._reductions.cpu import reduce_in_blocks
from jax_sae_metrics._reductions.gpu import reduce_in_tiles
from jax_sae_metrics._reductions.plain import reduce_at_once
from selection import all_of

BATCH, FEATURES = 2048, 1024

# All forms run on every platform, and are compiled here for CPU.
FORMS = {"cpu": reduce_in_blocks, "gpu": reduce_in_tiles, "plain": reduce_at_once}
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
# By kind. There are more comparisons than bytes in an integer; "c" is a constant of each feature.
FUNCTIONS = {
    "sum_per_feature": [
        *(lambda x, y, t=t: x > t for t in (-1, -0.5, 0, 0.5, 1)),
        lambda x, y: x * y,
        lambda x, y: abs(x),
        lambda x, y: y,
    ],
    "sum_per_vector": [lambda x, y: (x - y) ** 2, lambda x, y: x != 0, lambda x, y: x * y],
    "max_per_feature": [lambda x, y: x * y, lambda x, y: x - y],
    "last_per_feature": [lambda x, y: x > 1, lambda x, y: y > x],
}
WITH_CONSTANT = {
    "sum_per_feature": lambda x, y, c: (x - c) * y,
    "sum_per_vector": lambda x, y, c: abs(x) * c * c,
}
LAYOUTS = {
    "one vector": ((1, 5), 1),
    "a group less one": ((15, 8), 1),
    "a group": ((16, 8), 1),
    "a group and one": ((17, 3), 1),
    "a single feature": ((40, 1), 1),
    "many groups": ((4096, 9), 1),
    "no multiple of anything": ((1057, 11), 1),
    "sequences of components": ((5, 67, 3, 70), 2),
    "many features": ((600, 2, 20000), 1),
    "tiles of components": ((3, 70, 2, 1024), 2),
    "narrow tiles": ((64, 96), 1),
}


def asked(constant=None):
    """All reductions of these tests, one kind after the other."""
    reductions = [Reduction(kind, f) for kind, of_kind in FUNCTIONS.items() for f in of_kind]
    if constant is not None:
        reductions += [Reduction(kind, f, (constant,)) for kind, f in WITH_CONSTANT.items()]
    return reductions


def vectors_of(arrays, mask, num_item_axes):
    shape = arrays[0].shape
    positions = item_positions(shape[:num_item_axes], shape[num_item_axes:-1], mask)
    return Vectors(tuple(arrays), mask, positions)


def by_numpy(reduction, arrays, mask, num_item_axes):
    """The result of a reduction, found by NumPy in float64."""
    items = tuple(range(num_item_axes))
    values = reduction.function(*arrays, *(np.float64(c) for c in reduction.constants))
    shape = arrays[0].shape
    kept = np.ones((*shape[:-1], 1), bool) if mask is None else mask[..., None]
    if reduction.kind == "sum_per_vector":
        return values.sum(-1)
    if reduction.kind == "max_per_feature":
        return np.max(values, items, initial=-np.inf, where=kept)
    if reduction.kind == "last_per_feature":
        order = np.cumsum(kept.reshape(-1, *shape[num_item_axes:-1], 1), 0).reshape(kept.shape)
        return np.max(np.where(kept & values, order, 0), items, initial=0)
    return np.sum(values, items, where=kept)


# The smallest, an uneven one, and one large enough for every form to use all of its code.
DEFAULT_LAYOUTS = ["one vector", "no multiple of anything", "tiles of components"]


@pytest.mark.parametrize("layout", all_of(LAYOUTS, by_default=DEFAULT_LAYOUTS))
@pytest.mark.parametrize(
    "masked", all_of([False, True], by_default=[True]), ids=["unmasked", "masked"]
)
@every_form
def test_every_form_equals_numpy(form, masked, layout):
    """Reductions run all together, in another order, and alone. What is masked out is NaN."""
    shape, num_item_axes = LAYOUTS[layout]
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=shape) * (rng.random(shape) < 0.7) for _ in range(2))
    x, y = (np.float32(z) for z in (x, y))
    mask = rng.random(shape[:-1]) < 0.6 if masked else None
    constant = rng.normal(size=shape[num_item_axes:]).astype(np.float32)

    def reduce(arrays, mask, constant):
        vectors = vectors_of(arrays, mask, num_item_axes)
        together = tuple(asked(constant))
        # One of each kind, and a sum that is no count.
        alone = [Reduction(kind, functions[0]) for kind, functions in FUNCTIONS.items()]
        alone.append(Reduction("sum_per_feature", FUNCTIONS["sum_per_feature"][-1]))
        return (
            form(together, vectors, num_item_axes),
            form(together[::-1], vectors, num_item_axes)[::-1],
            *([one] for reduction in alone for one in form((reduction,), vectors, num_item_axes)),
        )

    together, reversed_, *alone = jax.jit(reduce)(
        *jax.tree.map(jnp.asarray, ((x, y), mask, constant))
    )
    wanted = [
        by_numpy(r, (np.float64(x), np.float64(y)), mask, num_item_axes) for r in asked(constant)
    ]
    assert_close(together, wanted)
    assert_close(reversed_, wanted)
    places = np.cumsum([0, *map(len, FUNCTIONS.values())])[:-1]
    places = [*places, len(FUNCTIONS["sum_per_feature"]) - 1]
    assert_close([one for (one,) in alone], [wanted[place] for place in places])


@every_form
@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
def test_a_component_axis_of_size_1_is_the_same_for_all(form, masked):
    rng = np.random.default_rng(0)
    shape = (70, 2, 1024)
    x, y = (rng.normal(size=(70, n, 1024)).astype(np.float32) for n in (1, 2))
    mask = rng.random(shape[:-1]) < 0.6 if masked else None

    def reduce(arrays, mask):
        positions = item_positions(shape[:1], shape[1:-1], mask)
        return form(tuple(asked()), Vectors(arrays, mask, positions), 1)

    found = jax.jit(reduce)(*jax.tree.map(jnp.asarray, ((x, y), mask)))
    repeated = (np.broadcast_to(np.float64(x), shape), np.float64(y))
    assert_close(found, [by_numpy(reduction, repeated, mask, 1) for reduction in asked()])


@every_form
def test_what_is_masked_out_may_be_nan_and_what_is_not_shows(form):
    """Vectors 64 to 95 are NaN and masked out; an unmasked NaN is in feature 5 of vector 7."""
    x = np.random.default_rng(0).normal(size=(130, 64)).astype(np.float32)
    mask = np.ones(130, bool)
    mask[64:96] = False
    kept = np.float64(x[mask])
    x[64:96] = np.nan
    x[7, 5] = np.nan

    def reduce(x, mask):
        kinds = ("sum_per_feature", "sum_per_vector")
        reductions = [Reduction(kind, lambda x: x) for kind in kinds]
        reductions += [Reduction("max_per_feature", lambda x: -x * x)]
        return form(tuple(reductions), vectors_of((x,), mask, 1), 1)

    per_feature, per_vector, largest = jax.jit(reduce)(jnp.asarray(x), jnp.asarray(mask))
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(per_feature)), [5])
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(per_vector)), [7, *range(64, 96)])
    others = np.arange(64) != 5
    np.testing.assert_allclose(per_feature[others], kept.sum(0)[others], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(largest[others], -(kept**2).min(0)[others], rtol=1e-5)


@every_form
def test_of_no_items(form):
    x = jnp.zeros((0, 64))
    given = jax.jit(lambda x: form(tuple(asked()), vectors_of((x, x), None, 1), 1))(x)
    for reduction, result in zip(asked(), given, strict=True):
        shape = (0,) if reduction.kind == "sum_per_vector" else (64,)
        lowest = -np.inf if reduction.kind == "max_per_feature" else 0
        np.testing.assert_array_equal(result, np.full(shape, lowest))
        assert result.shape == shape


@every_form
def test_under_shard_map_results_vary_as_the_arrays_do(form):
    """In a scan, the carry has one type: it begins with what a form gives and goes on with it."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8 * 64, 64)), jnp.float32)

    @jax.jit
    @functools.partial(jax.shard_map, mesh=mesh, in_specs=P(None, "data"), out_specs=P("data"))
    def run(x):
        def reduce(x):
            of_features = [r for r in asked() if r.kind != "sum_per_vector"]
            return form(tuple(of_features), vectors_of((x, x), None, 1), 1)

        step = lambda carry, x: (jax.tree.map(jnp.add, carry, reduce(x)), None)  # noqa: E731
        total, _ = jax.lax.scan(step, reduce(x[0]), x[1:])
        return jax.tree.map(lambda leaf: leaf[None], total)

    counts = run(x)[2]
    np.testing.assert_array_equal(counts.sum(0), (np.asarray(x) > 0).sum((0, 1)))


def test_a_platform_without_a_form_gets_the_plain_one():
    """The plain form is also the form for TPU."""
    from jax_sae_metrics._reductions.reduce_all import _FORMS

    assert _FORMS["default"] is reduce_at_once
    assert "tpu" not in _FORMS


def assert_close(sums, wanted):
    for got, want in zip(sums, wanted, strict=True):
        assert got.shape == want.shape
        if np.issubdtype(want.dtype, np.integer):
            assert got.dtype == jnp.int32
            np.testing.assert_array_equal(got, want)
        else:
            assert got.dtype == jnp.float32
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-4)


MASKS = {
    "no mask": lambda n: None,
    "a few": lambda n: np.arange(n)[:, None] % 7 == np.array([[0, 3]]),
    "the last alone": lambda n: np.arange(n)[:, None] >= np.array([[n - 1, n - 2]]),
    "nothing": lambda n: np.zeros((n, 2), bool),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("num_items", [1, 3, 64, 1000, 4096])
def test_a_centre_is_near_the_mean(num_items, mask):
    """It is near enough that no digits are lost: within a few standard deviations."""
    mask = MASKS[mask](num_items)
    x = 1000 + np.random.default_rng(0).normal(size=(num_items, 2, 5)).astype(np.float32)
    x[:, :, 4] = 0.1  # of equal values, exactly that value
    given = jnp.asarray(x), None if mask is None else jnp.asarray(mask)
    centre, _ = near_mean(absolute_value, given[:1], given[1], 1, axis_name=None)
    for component in range(2):
        kept = slice(None) if mask is None else mask[:, component]
        vectors = x[kept, component]
        if len(vectors) == 0:
            np.testing.assert_array_equal(centre[component], 0)
            continue
        assert np.all(abs(centre[component] - vectors.mean(0)) < 2)
        assert centre[component, 4] == np.float32(0.1)


def absolute_value(x):
    return abs(x)


SHAPES = {
    "vectors": ((BATCH, FEATURES), None),
    "sequences": ((BATCH // 64, 64, FEATURES), None),
    "components": ((BATCH, 4, FEATURES // 4), 4),
    "no multiple of a group": ((BATCH + 5, FEATURES), None),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_counting_writes_nothing_as_large_as_the_activations(shape, dtype):
    """Left to itself, XLA:CPU writes out the comparison as an int32 for every activation."""
    shape, num_components = SHAPES[shape]
    num_features = shape[-1]
    metrics = jsm.MetricCollection(
        {
            "density": jsm.FeatureDensity(num_features, num_components),
            "l0": jsm.L0Norm(num_components),
            "l1": jsm.L1AbsoluteLoss(num_components),
        }
    )
    acts = jax.ShapeDtypeStruct(shape, dtype)
    lowered = jax.jit(metrics.update).lower(metrics.init(), learned_activations=acts)
    temporaries = lowered.compile().memory_analysis().temp_size_in_bytes
    assert temporaries <= BATCH * FEATURES / 4
