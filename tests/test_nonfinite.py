"""What is not finite is counted, and left out where that is asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jax_sae_metrics as jsm

VECTORS, COMPONENTS, FEATURES, WIDTH = 12, 2, 6, 4
BAD = (np.nan, np.inf, -np.inf)


def learned():
    random = np.random.default_rng(0)
    codes = np.maximum(random.normal(size=(VECTORS, COMPONENTS, FEATURES)), 0).astype(np.float32)
    codes[2, 0, 1], codes[5, 1, 5], codes[7, 0, 0], codes[7, 0, 3] = (*BAD, np.nan)
    return codes


def top_k(codes):
    indices = np.broadcast_to(np.arange(FEATURES), codes.shape)
    return jsm.TopKActivations(jnp.asarray(codes), jnp.asarray(indices), FEATURES)


def flat(codes):
    vectors, features = np.indices((VECTORS * COMPONENTS, FEATURES)).reshape(2, -1)
    # One more entry is padding, and its NaN is nowhere.
    values = jnp.append(codes.reshape(-1), jnp.float32(jnp.nan))
    vectors, features = (jnp.append(indices, -1) for indices in (vectors, features))
    return jsm.SparseActivations(values, vectors, features, codes.shape)


FORMS = {"dense": jnp.asarray, "TopK": top_k, "flat": flat}


def is_bad(array):
    """Where an item is not finite, of an array with an axis of features."""
    return ~np.isfinite(array).all(-1)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_codes_that_are_not_finite_are_counted(form):
    metric = jsm.Nonfinite("learned_activations", COMPONENTS)
    mask = np.arange(VECTORS) != 5
    state = jax.jit(metric.update)(metric.init(), learned_activations=form(learned()), mask=mask)
    np.testing.assert_array_equal(metric.compute(state), is_bad(learned())[mask].sum(0))
    np.testing.assert_array_equal(metric.compute(state), [2, 0])


LOSS = np.where(np.arange(VECTORS)[:, None] % 5 == 3, np.nan, 1.0) * np.ones(COMPONENTS)
OTHERS = {
    "source_logits": (learned(), is_bad(learned())),
    "source_model_loss": (LOSS, ~np.isfinite(LOSS)),
    "auxiliary_loss": (LOSS, ~np.isfinite(LOSS)),
    "source_activations": (learned(), is_bad(learned())),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_inputs_are_counted(name):
    array, bad = OTHERS[name]
    metric = jsm.Nonfinite(name, COMPONENTS)
    state = metric.update(metric.init(), **{name: jnp.asarray(array, jnp.float32)})
    np.testing.assert_array_equal(metric.compute(state), bad.sum(0))


def inputs():
    random = np.random.default_rng(1)
    source, decoded = random.normal(size=(2, VECTORS, COMPONENTS, WIDTH)).astype(np.float32)
    source[1, 0, 2], decoded[4, 1, 0] = np.nan, np.inf
    losses = random.uniform(size=(3, VECTORS, COMPONENTS)).astype(np.float32)
    losses[1, 9, 1] = np.nan
    names = (
        "source_model_loss",
        *(f"source_model_loss_with_{n}" for n in ("reconstruction", "zero_ablation")),
    )
    return {"source_activations": source, "decoded_activations": decoded} | dict(
        zip(names, losses, strict=True)
    )


KINDS = {
    "l0": (jsm.L0Norm, {"learned_activations"}),
    "l1": (jsm.L1AbsoluteLoss, {"learned_activations"}),
    "density": (lambda c: jsm.FeatureDensity(FEATURES, c), {"learned_activations"}),
    "mse": (jsm.L2ReconstructionLoss, {"source_activations", "decoded_activations"}),
    "variance": (
        lambda c: jsm.ExplainedVariance(WIDTH, c),
        {"source_activations", "decoded_activations"},
    ),
    "score": (jsm.ReconstructionScore, {name for name in inputs() if "loss" in name}),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_what_is_left_out_is_as_if_it_had_been_masked(form):
    """Each metric leaves out the items that are not finite in what it reads."""
    metrics = {name: build(COMPONENTS) for name, (build, _) in KINDS.items()}
    metrics["nonfinite"] = jsm.Nonfinite("learned_activations", COMPONENTS)
    collection = jsm.MetricCollection({"inner": jsm.MetricCollection(metrics)}, finite_only=True)
    batch = inputs()
    update = jax.jit(collection.update)
    state = update(collection.init(), learned_activations=form(learned()), **batch)
    values = collection.compute(state)
    np.testing.assert_array_equal(values["inner/nonfinite"], is_bad(learned()).sum(0))
    all_inputs = batch | {"learned_activations": learned()}
    for name, (build, reads) in KINDS.items():
        metric, given = build(COMPONENTS), {key: all_inputs[key] for key in reads}
        bad = [~np.isfinite(a) if a.ndim == 2 else is_bad(a) for a in given.values()]
        kept = ~np.any(bad, axis=0)
        alone = metric.update(metric.init(), mask=kept, **given)
        wanted = metric.compute(alone)
        assert np.isfinite(wanted).all()
        np.testing.assert_allclose(values[f"inner/{name}"], wanted, rtol=1e-6, err_msg=name)


@pytest.mark.exhaustive
@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("form", [jnp.asarray, top_k], ids=["dense", "TopK"])
def test_items_on_several_devices_are_left_out_too(form, axis_type):
    collection = jsm.training_metrics(FEATURES, WIDTH, COMPONENTS, nonfinite="leave_out")
    batch = {n: array for n, array in inputs().items() if "activations" in n}
    batch |= {"learned_activations": form(learned())}
    update = jax.jit(collection.update)
    wanted = collection.compute(update(collection.init(), **batch))
    mesh = jax.make_mesh((4,), ("data",), axis_types=(axis_type,))
    with jax.set_mesh(mesh):
        batch = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
        values = collection.compute(update(collection.init(), **batch))
    for name, value in wanted.items():
        np.testing.assert_allclose(values[name], value, rtol=1e-5, err_msg=name)


def test_without_the_option_one_nan_stays():
    metric = jsm.MetricCollection({"mse": jsm.L2ReconstructionLoss(COMPONENTS)})
    batch = {name: array for name, array in inputs().items() if "activations" in name}
    values = metric.compute(metric.update(metric.init(), **batch))
    assert not np.isfinite(values["mse"]).any()


@pytest.mark.parametrize("nonfinite", ["keep", "count", "leave_out"])
def test_ready_made_collections_count_or_leave_out(nonfinite):
    metrics = jsm.evaluation_metrics(
        FEATURES, WIDTH, COMPONENTS, model_losses=True, nonfinite=nonfinite
    )
    update = jax.jit(metrics.update)
    batch = {"learned_activations": learned()} | inputs()
    values = metrics.compute(update(metrics.init(), **batch))
    counted = {name.removeprefix("nonfinite/") for name in values if name.startswith("nonfinite/")}
    assert counted == (set() if nonfinite == "keep" else set(batch))
    for name in counted:
        array = batch[name]
        bad = ~np.isfinite(array) if array.ndim == 2 else is_bad(array)
        np.testing.assert_array_equal(values[f"nonfinite/{name}"], bad.sum(0))
    assert np.isfinite(values["mse"]).all() == (nonfinite == "leave_out")
