"""Reductions of functions of activations: every platform's form, for every number of items."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_sae_metrics as jsm
from jax_sae_metrics._reductions import Kinds, Term, item_positions, near_mean
from jax_sae_metrics._reductions.cpu import reduce_in_blocks
from jax_sae_metrics._reductions.functions import Rows
from jax_sae_metrics._reductions.gpu import reduce_in_tiles
from jax_sae_metrics._reductions.plain import reduce_at_once
from selection import all_of

BATCH, FEATURES = 2048, 1024

# All of them run on every platform, and are compiled here for CPU.
FORMS = {"cpu": reduce_in_blocks, "gpu": reduce_in_tiles, "plain": reduce_at_once}
# More comparisons than there are bytes in an integer. The last takes a constant of its feature.
PER_FEATURE = [lambda x, y, t=t: x > t for t in (-1, -0.5, 0, 0.5, 1)]
PER_FEATURE += [
    lambda x, y: x * y,
    lambda x, y: abs(x),
    lambda x, y: y,
    lambda x, y, c: (x - c) * y,
]
PER_VECTOR = [lambda x, y: (x - y) ** 2, lambda x, y: x != 0, lambda x, y: x * y]
PER_VECTOR += [lambda x, y, c: abs(x) * c * c]
LARGEST = [lambda x, y: x * y, lambda x, y: x - y]
LAST = [lambda x, y: x > 1, lambda x, y: y > x]
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


# Least, uneven, and as large as it takes for every form to do all that it does.
DEFAULT_LAYOUTS = ["one vector", "no multiple of anything", "tiles of components"]


@pytest.mark.parametrize("layout", all_of(LAYOUTS, by_default=DEFAULT_LAYOUTS))
@pytest.mark.parametrize(
    "masked", all_of([False, True], by_default=[True]), ids=["unmasked", "masked"]
)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_equals_numpy(form, masked, layout):
    shape, num_item_axes = LAYOUTS[layout]
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=shape) * (rng.random(shape) < 0.7) for _ in range(2))
    x, y = (np.float32(z) for z in (x, y))
    mask = rng.random(shape[:-1]) < 0.6 if masked else None

    constant = rng.normal(size=shape[num_item_axes:]).astype(np.float32)

    def of(functions, constant=None, num_plain=None):
        num_plain = len(functions) if num_plain is None else num_plain
        terms = tuple(Term(f, int(i >= num_plain)) for i, f in enumerate(functions))
        return terms, tuple((constant,) * term.num_constants for term in terms)

    def reduce(arrays, mask, constant):
        positions = item_positions(shape[:num_item_axes], shape[num_item_axes:-1], mask)
        rows = Rows(arrays, mask, positions)

        def found(**kinds):
            terms = Kinds(**{kind: given[0] for kind, given in kinds.items()})
            constants = Kinds(**{kind: given[1] for kind, given in kinds.items()})
            return FORMS[form](rows, constants, terms, num_item_axes)

        everything = found(
            per_feature=of(PER_FEATURE, constant, len(PER_FEATURE) - 1),
            per_vector=of(PER_VECTOR, constant, len(PER_VECTOR) - 1),
            largest=of(LARGEST),
            last=of(LAST),
        )
        single = [
            found(per_feature=of(PER_FEATURE[:1])).per_feature,
            found(per_feature=of(PER_FEATURE[7:8])).per_feature,
            found(per_vector=of(PER_VECTOR[:1])).per_vector,
            found(largest=of(LARGEST[:1])).largest,
            found(last=of(LAST[:1])).last,
        ]
        return everything, single

    given = (x, y), mask, constant
    everything, single = jax.jit(reduce)(*jax.tree.map(jnp.asarray, given))
    x, y, c = (np.float64(z) for z in (x, y, constant))
    kept = np.ones((*shape[:-1], 1), bool) if mask is None else mask[..., None]
    items = tuple(range(num_item_axes))
    order = np.cumsum(kept.reshape(-1, *shape[num_item_axes:-1], 1), 0).reshape(kept.shape)
    columns = [np.sum(f(x, y) * kept, items) for f in PER_FEATURE[:-1]]
    columns += [np.sum(PER_FEATURE[-1](x, y, c) * kept, items)]
    rows = [np.sum(f(x, y), -1) for f in PER_VECTOR[:-1]] + [np.sum(PER_VECTOR[-1](x, y, c), -1)]
    largest = [np.max(np.where(kept, f(x, y), -np.inf), items) for f in LARGEST]
    last = [np.max(np.where(kept & f(x, y), order, 0), items) for f in LAST]
    assert_close(everything.per_feature, columns)
    assert_close(everything.per_vector, rows)
    assert_close(everything.largest, largest)
    assert_close(everything.last, last)
    wanted = columns[0], columns[7], rows[0], largest[0], last[0]
    assert_close([one for (one,) in single], wanted)


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
    """Near enough that no digits are lost to it: within a few standard deviations."""
    mask = MASKS[mask](num_items)
    x = 1000 + np.random.default_rng(0).normal(size=(num_items, 2, 5)).astype(np.float32)
    x[:, :, 4] = 0.1  # of equal values, exactly that value
    given = jnp.asarray(x), None if mask is None else jnp.asarray(mask)
    centre = near_mean(absolute_value, given[:1], given[1], 1, axis_name=None)
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


NOT_OF_ONE_NUMBER = {
    "a sum over features": lambda f: f.sum(-1),
    "a softmax": lambda f: jax.nn.softmax(f, axis=-1),
    "centred": lambda f: f - f.mean(0),
    "of all features": lambda f: f * jnp.arange(8.0),
    "two values": lambda f: (f, f),
    "an integer": lambda f: jnp.sign(f).astype(jnp.int32),
    "nothing": lambda f: None,
}
FORMS_OF_INPUT = {
    "array": jnp.ones((4, 8)),
    "TopK": jsm.TopKActivations(jnp.ones((4, 2)), jnp.ones((4, 2), jnp.int32), 8),
}


@pytest.mark.parametrize("form", FORMS_OF_INPUT)
@pytest.mark.parametrize("function", NOT_OF_ONE_NUMBER)
def test_a_function_of_more_than_one_number_is_refused(function, form):
    class Sum(jsm.AbstractMetric):
        def _init(self):
            return jsm.Total.zeros((8,))

        def _observe(self, batch):
            return batch.learned_activations(self).sum_per_feature(NOT_OF_ONE_NUMBER[function])

        def _compute(self, state):
            return state.to_float()

    with pytest.raises(TypeError, match="expected a function of 1 number"):
        Sum().update(Sum().init(), learned_activations=FORMS_OF_INPUT[form])
