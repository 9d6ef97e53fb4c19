"""Sums of functions of activations: each platform's form is right for every number of items."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_sae_metrics as jsm
from jax_sae_metrics._reductions.cpu import sum_in_blocks
from jax_sae_metrics._reductions.functions import Functions
from jax_sae_metrics._reductions.gpu import sum_in_groups
from jax_sae_metrics._reductions.plain import sum_at_once

BATCH, FEATURES = 2048, 1024

# All of them run on every platform, and are compiled here for CPU.
FORMS = {"cpu": sum_in_blocks, "gpu": sum_in_groups, "plain": sum_at_once}
# More comparisons than there are bytes in an integer.
PER_FEATURE = [lambda x, y, t=t: x > t for t in (-1, -0.5, 0, 0.5, 1)]
PER_FEATURE += [lambda x, y: x * y, lambda x, y: abs(x), lambda x, y: y]
PER_VECTOR = [lambda x, y: (x - y) ** 2, lambda x, y: x != 0, lambda x, y: x * y]
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
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_equals_numpy(form, masked, layout):
    shape, num_item_axes = LAYOUTS[layout]
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=shape) * (rng.random(shape) < 0.7) for _ in range(2))
    x, y = (np.float32(z) for z in (x, y))
    mask = rng.random(shape[:-1]) < 0.6 if masked else None

    def few_and_many(arrays, mask):
        forms = [(PER_FEATURE, PER_VECTOR), (PER_FEATURE[:1], ()), (PER_FEATURE[-1:], ())]
        forms += [((), PER_VECTOR[:1])]
        return [
            FORMS[form](arrays, mask, Functions(tuple(columns), tuple(rows)), num_item_axes)
            for columns, rows in forms
        ]

    arrays = jnp.asarray(x), jnp.asarray(y)
    everything, *single = jax.jit(few_and_many)(arrays, None if mask is None else jnp.asarray(mask))
    x, y = np.float64(x), np.float64(y)
    kept = 1 if mask is None else mask[..., None]
    items = tuple(range(num_item_axes))
    columns = [np.sum(function(x, y) * kept, items) for function in PER_FEATURE]
    rows = [np.sum(function(x, y), -1) for function in PER_VECTOR]
    assert_close(everything.per_feature, columns)
    assert_close(everything.per_vector, rows)
    assert_close(
        [sums for one in single for sums in (*one.per_feature, *one.per_vector)],
        [columns[0], columns[-1], rows[0]],
    )


def assert_close(sums, wanted):
    for got, want in zip(sums, wanted, strict=True):
        assert got.shape == want.shape
        if np.issubdtype(want.dtype, np.integer):
            assert got.dtype == jnp.int32
            np.testing.assert_array_equal(got, want)
        else:
            assert got.dtype == jnp.float32
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-4)


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
