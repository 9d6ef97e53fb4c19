"""Flat sparse activations give the results of the dense form, at the cost of what is given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_sae_metrics as jsm
from learned_activations import FlatInside, flattened
from runners import RUNNERS, jit
from selection import all_of
from test_sparse_additions import metrics_of
from test_top_k import (
    BY_DEFAULT,
    LAYOUTS,
    WITHOUT_GRADIENTS,
    all_other_metrics,
    assert_equal,
    draw_batches,
    ways_of_summing,
)


@pytest.mark.parametrize("runner", all_of(WITHOUT_GRADIENTS, by_default=BY_DEFAULT))
@pytest.mark.parametrize(
    "layout", all_of(LAYOUTS, by_default=["many features of 3 masked components"])
)
def test_equal_the_dense_form(layout, runner):
    layout = {"num_components": None} | LAYOUTS[layout]
    metrics = ways_of_summing(**layout)
    top_k, dense = draw_batches(**layout)
    assert_equal(RUNNERS[runner](FlatInside(metrics), top_k), jit(metrics, dense))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_metric_takes_them(layout):
    layout = {"num_components": None} | LAYOUTS[layout]
    few = metrics_of(layout["num_features"], layout["num_components"])
    metrics = jsm.MetricCollection({"others": all_other_metrics(**layout), "few": few})
    components = () if layout["num_components"] is None else (layout["num_components"],)
    names = ("learned_activations", "mask")

    def batches(form):
        for batch in form:
            given = {name: batch[name] for name in names if name in batch}
            if "mask" not in given:  # the vectors as prompts of two
                given = jax.tree.map(lambda x: x.reshape(-1, 2, *x.shape[1:]), given)
            yield given | {"decoder_norms": jnp.ones((*components, layout["num_features"]))}

    top_k, dense = (list(batches(form)) for form in draw_batches(**layout))
    assert_equal(jit(FlatInside(metrics), top_k), jit(metrics, dense))


def flat(values, vectors, features, shape):
    arrays = (jnp.asarray(values, jnp.float32), jnp.asarray(vectors), jnp.asarray(features))
    return jsm.SparseActivations(*arrays, shape)


def run(metric, **inputs):
    return metric.compute(metric.update(metric.init(), **inputs))


@pytest.mark.parametrize(
    ("vector", "feature"), [(-1, 0), (0, -1), (6, 0), (0, 4), (2**31 - 1, 0), (0, -(2**31))]
)
@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 1, 4)])
def test_an_entry_with_an_index_out_of_range_is_padding(vector, feature, shape):
    num_components = None if len(shape) == 3 else 5  # the same for all 5
    metrics = jsm.MetricCollection(
        {"fired": jsm.NeuronFiredCount(4, num_components), "l1": jsm.L1AbsoluteLoss(num_components)}
    )
    some = flat([2.0, np.nan], [5, vector], [3, feature], shape)
    values = run(metrics, learned_activations=some)
    np.testing.assert_array_equal(values["fired"][..., 3], 1)
    np.testing.assert_array_equal(values["fired"][..., :3], 0)
    np.testing.assert_allclose(values["l1"], 2 / 6)
    np.testing.assert_array_equal(jsm.l1_absolute_loss(some).sum(), 2)


def test_two_entries_at_the_same_place_count_twice():
    twice = flat([1.0, 2.0], [0, 0], [1, 1], (1, 3))
    assert run(jsm.L0Norm(), learned_activations=twice) == 2
    np.testing.assert_array_equal(
        run(jsm.NeuronFiredCount(3), learned_activations=twice), [0, 2, 0]
    )


def test_components_share_what_has_a_component_axis_of_size_1():
    """One code read by several decoders: every form equals the one that is repeated."""
    rng = np.random.default_rng(0)
    shared = np.maximum(rng.normal(size=(40, 2, 1, 16)), 0).astype(np.float32)
    repeated = np.broadcast_to(shared, (40, 2, 3, 16))
    inputs = {
        "source_activations": rng.normal(size=(40, 2, 1, 8)).astype(np.float32),
        "decoded_activations": rng.normal(size=(40, 2, 3, 8)).astype(np.float32),
    }
    metrics = jsm.MetricCollection(
        {
            "training": jsm.training_metrics(16, 8, 3),
            "consistency": jsm.ConsistentActivationHeuristic(16, 3),
            "capacity": jsm.Capacity(20, 16, 3),
            "normalized": jsm.NormalizedL1(3),
            "l1": jsm.L1AbsoluteLoss(3, decoder_weighted=True),
        }
    )
    inputs["decoder_norms"] = rng.random((3, 16)).astype(np.float32)
    top_k = jsm.TopKActivations(*jax.lax.top_k(shared, 16), 16)
    for mask in (None, rng.random((40, 2)) < 0.5, rng.random((40, 2, 3)) < 0.5):
        wanted = run(metrics, learned_activations=repeated, mask=mask, **inputs)
        for form in (shared, top_k, flattened(top_k)):
            assert_equal(run(metrics, learned_activations=form, mask=mask, **inputs), wanted)


def test_gradients_flow_through_the_loss_function():
    given = flat([2.0, -3.0, 0.0, 4.0], [0, 1, 1, -1], [0, 1, 2, 2], (2, 3))

    def loss(values):
        activations = jsm.SparseActivations(
            values, given.vector_indices, given.feature_indices, given.shape
        )
        return jsm.l1_absolute_loss(activations).sum()

    np.testing.assert_array_equal(jax.grad(loss)(given.values), [1, -1, 0, 0])


def test_memory_grows_with_the_entries_and_not_with_the_features():
    num_features, num_entries = 2**24, 2**12
    metric = jsm.MetricCollection(
        {
            "density": jsm.FeatureDensity(num_features),
            "dead": jsm.DeadFeatures(num_features),
            "l0": jsm.L0Norm(),
        }
    )

    def update(state, values, vectors, features):
        learned = jsm.SparseActivations(values, vectors, features, (512, num_features))
        return metric.update(state, learned_activations=learned)

    indices = jax.ShapeDtypeStruct((num_entries,), jnp.int32)
    values = jax.ShapeDtypeStruct((num_entries,), jnp.float32)
    step = jax.jit(update, donate_argnums=0)
    memory = step.lower(jax.eval_shape(metric.init), values, indices, indices).compile()
    memory = memory.memory_analysis()
    assert memory.alias_size_in_bytes >= 3 * 4 * num_features  # updated in place
    assert memory.temp_size_in_bytes <= 40 * num_entries


WRONG = {
    "integer values": (TypeError, (jnp.ones(3, int), jnp.ones(3, int), jnp.ones(3, int)), "values"),
    "float vectors": (TypeError, (jnp.ones(3), jnp.ones(3), jnp.ones(3, int)), "vector_indices"),
    "float features": (TypeError, (jnp.ones(3), jnp.ones(3, int), jnp.ones(3)), "feature_indices"),
    "other lengths": (ValueError, (jnp.ones(3), jnp.ones(4, int), jnp.ones(3, int)), "(4,)"),
}


@pytest.mark.parametrize(("error", "arrays", "says"), WRONG.values(), ids=WRONG)
def test_wrong_arrays_are_named(error, arrays, says):
    with pytest.raises(error) as raised:
        jsm.SparseActivations(*arrays, (2, 3))
    assert says in str(raised.value)


@pytest.mark.parametrize("shape", [(3,), 3, (2, 0), (2, 3.0), "23"])
def test_a_shape_that_is_none_is_refused(shape):
    with pytest.raises(ValueError, match="shape"):
        flat([1.0], [0], [0], shape)


@pytest.mark.parametrize(
    ("shape", "num_components", "says"),
    [((4, 3, 8), 2, "component axis of size 2"), ((4, 7), None, "expects 8 learned features")],
)
def test_shapes_are_checked_like_those_of_arrays(shape, num_components, says):
    metric = jsm.FeatureDensity(8, num_components)
    with pytest.raises(ValueError, match=says):
        metric.update(metric.init(), learned_activations=flat([1.0], [0], [0], shape))
