"""TopK activations give the results of the dense form, at the cost of what is given alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_sae_metrics as jsm
from jax_sae_metrics._accumulator import Scattered
from runners import COMPILED_BY_DEFAULT, RUNNERS, jit
from selection import all_of

K = 3
BATCH = 272
# With many features there are fewer entries than features, with few there are more: two ways of
# adding them up.
LAYOUTS = {
    "many features": {"num_features": 2048},
    "many features of 3 masked components": {"num_features": 2048, "num_components": 3},
    "few features": {"num_features": 8},
}


def ways_of_summing(num_features, num_components):
    """Sums per feature, over everything, and per vector beside an array."""
    return jsm.MetricCollection(
        {
            "density": jsm.FeatureDensity(num_features, num_components, threshold=0.5),
            "l0": jsm.L0Norm(num_components),
            "loss": jsm.SparseAutoencoderLoss(0.1, num_components),
        }
    )


def all_other_metrics(num_features, num_components):
    return jsm.MetricCollection(
        {
            "fired": jsm.NeuronFiredCount(num_features, num_components),
            "dead": jsm.NeuronActivity(num_features, num_components),
            "l1": jsm.L1AbsoluteLoss(num_components),
            "capacity": jsm.Capacity(20, num_features, num_components),
        }
    )


def draw(shape, num_features, index_dtype=jnp.int32, seed=0):
    """Draw the same activations as `TopKActivations`, with poisoned padding, and as an array."""
    rng = np.random.default_rng(seed)
    features = [rng.permutation(num_features)[:K] for _ in range(int(np.prod(shape)))]
    indices = np.reshape(features, (*shape, K))
    values = rng.normal(size=indices.shape).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = 0
    is_padding = rng.random(indices.shape) < 0.3
    dense = np.zeros((*shape, num_features), np.float32)
    np.put_along_axis(dense, indices, np.where(is_padding, 0, values), axis=-1)
    lowest = -1 if np.issubdtype(index_dtype, np.signedinteger) else num_features
    indices[is_padding] = rng.choice([lowest, num_features], size=is_padding.sum())
    values[is_padding] = np.nan
    top_k = jsm.TopKActivations(
        jnp.asarray(values), jnp.asarray(indices).astype(index_dtype), num_features
    )
    return top_k, jnp.asarray(dense)


def draw_batches(num_features, num_components=None):
    """Draw batches with TopK and with dense activations; batches with components are masked."""
    rng = np.random.default_rng(7)
    shape = (BATCH,) if num_components is None else (BATCH // 2, 2, num_components)
    batches = []
    for seed in range(2):
        source = jnp.asarray(rng.normal(size=(*shape, 4)), jnp.float32)
        others = {"source_activations": source, "decoded_activations": 0.5 * source}
        if num_components is not None:
            others["mask"] = jnp.asarray(rng.random(shape) < 0.6)
        forms = draw(shape, num_features, seed=seed)
        batches.append([{"learned_activations": form} | others for form in forms])
    return zip(*batches, strict=True)


def assert_equal(value, wanted):
    assert value.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_allclose(value[name], wanted[name], rtol=1e-6, atol=1e-7, err_msg=name)


# Gradients with respect to integers are not defined; see the test of gradients below.
WITHOUT_GRADIENTS = [name for name in RUNNERS if not name.startswith("grad")]


# Where a mesh is manual over one axis alone, what is evaluated while tracing may not be on it.
BY_DEFAULT = [*COMPILED_BY_DEFAULT, "explicit mesh, manual over one axis"]


@pytest.mark.parametrize("runner", all_of(WITHOUT_GRADIENTS, by_default=BY_DEFAULT))
@pytest.mark.parametrize("layout", all_of(LAYOUTS, by_default=["few features"]))
def test_equals_the_dense_form(layout, runner):
    layout = {"num_components": None} | LAYOUTS[layout]
    metrics = ways_of_summing(**layout)
    top_k, dense = draw_batches(**layout)
    assert_equal(RUNNERS[runner](metrics, top_k), jit(metrics, dense))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_metric_takes_them(layout):
    layout = {"num_components": None} | LAYOUTS[layout]
    metrics = all_other_metrics(**layout)
    top_k, dense = (
        [{n: x for n, x in batch.items() if n in ("learned_activations", "mask")} for batch in form]
        for form in draw_batches(**layout)
    )
    assert_equal(jit(metrics, top_k), jit(metrics, dense))


@pytest.mark.parametrize("num_components", [None, 3])
def test_vectors_without_entries_are_zero(num_components):
    components = () if num_components is None else (num_components,)
    metrics = all_other_metrics(8, num_components)
    none = jsm.TopKActivations(
        jnp.zeros((5, *components, 0)), jnp.zeros((5, *components, 0), jnp.int32), 8
    )
    top_k, dense = (
        metrics.update(metrics.init(), learned_activations=given)
        for given in (none, jnp.zeros((5, *components, 8)))
    )
    assert_equal(metrics.compute(top_k), metrics.compute(dense))


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8, jnp.int16, jnp.uint32, jnp.int32])
def test_indices_of_any_integer_dtype(dtype):
    num_features = 100
    top_k, dense = draw((50,), num_features, index_dtype=dtype)
    metric = jsm.NeuronFiredCount(num_features)
    counts = [
        metric.compute(metric.update(metric.init(), learned_activations=form))
        for form in (top_k, dense)
    ]
    np.testing.assert_array_equal(*counts)


@pytest.mark.parametrize("outside", [2**32, 2**31, -(2**63), -(2**32)])
def test_padding_that_only_64_bits_can_hold(outside):
    """Cut to 32 bits, 2^32 would be the first feature."""
    metric = jsm.NeuronFiredCount(4)
    indices = np.array([[1, outside]])
    assert indices.dtype == np.int64
    top_k = jsm.TopKActivations(jnp.ones((1, 2)), indices, 4)
    for update in (metric.update, jax.jit(metric.update)):
        state = update(metric.init(), learned_activations=top_k)
        np.testing.assert_array_equal(metric.compute(state), [0, 1, 0, 0])


def test_more_features_than_the_dtype_of_the_indices_can_count():
    metric = jsm.NeuronFiredCount(2**17)
    indices = jnp.asarray([[3, -1, 127], [3, -128, 0]], jnp.int8)
    top_k = jsm.TopKActivations(jnp.ones((2, 3)), indices, 2**17)
    counts = metric.compute(metric.update(metric.init(), learned_activations=top_k))
    assert {int(i): int(counts[i]) for i in np.flatnonzero(counts)} == {0: 1, 3: 2, 127: 1}


def test_observations_are_those_of_the_dense_form():
    metrics = ways_of_summing(2048, None)
    top_k, dense = draw_batches(2048)
    observations = [jax.jit(metrics.observe)(**form[0]) for form in (top_k, dense)]
    for a, b in zip(*map(jax.tree.leaves, observations), strict=True):
        if not jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_the_loss_functions_take_them_and_are_differentiable():
    top_k, dense = draw((5,), 16)
    sums = jsm.l1_absolute_loss(top_k)
    np.testing.assert_allclose(sums, jsm.l1_absolute_loss(dense), rtol=1e-6)

    def loss(values):
        given = jsm.TopKActivations(values, top_k.indices, 16)
        return jsm.l1_absolute_loss(given).sum(), jsm.L0Norm().observe(learned_activations=given)

    gradient, _ = jax.grad(loss, has_aux=True)(top_k.values)
    wanted = np.where(top_k.is_valid(), np.sign(top_k.values), 0)
    np.testing.assert_array_equal(gradient, wanted)


def test_counts_carry_where_few_entries_are_added():
    start = np.array([2**31 - 1, 2**32 - 1, 2**32 - 2, 2**33 - 1, 2**31, 7], np.uint64)
    start = np.resize(start, 512)
    count = jsm.Count(
        high=jnp.asarray(start >> np.uint64(32), jnp.uint32),
        low=jnp.asarray(start & np.uint64(2**32 - 1), jnp.uint32),
    )
    indices = np.array([0, 0, 1, 2, 2, 2, 3, 4, 5, 5, 7, 512, 9999])  # the last two are outside
    values = np.array([1, 1, 1, 1, 1, 1, 5, 2**30, 1, 0, 3, 1, 1])
    added = Scattered((jnp.asarray(indices, jnp.int32),), jnp.asarray(values, jnp.int32), (512,))
    wanted = start.copy()
    np.add.at(wanted, indices[:-2], values[:-2].astype(np.uint64))
    for observation in (added, added.dense()):
        np.testing.assert_array_equal(count.add(observation).to_numpy(), wanted)


def test_memory_grows_with_the_entries_and_not_with_the_features():
    metric = jsm.FeatureDensity(num_learned_features=2**24)
    shape = (512, 16)
    top_k = jax.eval_shape(
        lambda: jsm.TopKActivations(jnp.zeros(shape), jnp.zeros(shape, jnp.int32), 2**24)
    )
    step = jax.jit(metric.update, donate_argnums=0)
    compiled = step.lower(jax.eval_shape(metric.init), learned_activations=top_k).compile()
    memory = compiled.memory_analysis()
    assert memory.alias_size_in_bytes >= 2 * 4 * 2**24  # the state is updated in place
    assert memory.temp_size_in_bytes <= 40 * 512 * 16


WRONG = {
    "integer values": (TypeError, (jnp.ones((2, 3), int), jnp.ones((2, 3), int), 8), "values"),
    "float indices": (TypeError, (jnp.ones((2, 3)), jnp.ones((2, 3)), 8), "indices"),
    "different shapes": (ValueError, (jnp.ones((2, 3)), jnp.ones((2, 4), int), 8), "(2, 4)"),
    "no features": (ValueError, (jnp.ones((2, 3)), jnp.ones((2, 3), int), 0), "positive"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_arguments_are_named(wrong):
    error, arguments, said = WRONG[wrong]
    with pytest.raises(error) as raised:
        jsm.TopKActivations(*arguments)
    assert said in str(raised.value)


def test_a_function_that_zeros_would_add_to_is_refused():
    class NumZero(jsm.AbstractMetric):
        def _init(self):
            return jsm.Count.zeros((8,))

        def _observe(self, batch):
            return batch.learned_activations.sum_per_feature(lambda f: f == 0)

        def _compute(self, state):
            return state.to_int()

    top_k, _ = draw((5,), 8)
    with pytest.raises(ValueError, match="0 at 0"):
        NumZero().update(NumZero().init(), learned_activations=top_k)
