"""States name their configuration; observations are a separate type, with separate laws."""

import functools
import operator
import pickle

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

import jax_sae_metrics as jsm
from learned_activations import top_k_form
from metric_case import NUM_LEARNED_FEATURES
from metric_cases import DEFAULT_CASES
from subjects import few_and_all_together

FEATURES = 6
# (the state's metric, another configuration of it): what they count differs.
OTHERWISE_COUNTED = {
    "threshold": (jsm.FeatureDensity(FEATURES), jsm.FeatureDensity(FEATURES, threshold=0.5)),
    "reduction": (jsm.L2ReconstructionLoss(), jsm.L2ReconstructionLoss(reduction="sum")),
    "absolute": (jsm.L0Norm(), jsm.L0Norm(absolute=False)),
    "weights": (jsm.L1AbsoluteLoss(), jsm.L1AbsoluteLoss(decoder_weighted=True)),
    "coefficient": (jsm.SparseAutoencoderLoss(0.1), jsm.SparseAutoencoderLoss(0.2)),
    "average": (jsm.ReconstructionScore(), jsm.ReconstructionScore(average="mean_of_ratios")),
    "ablation": (jsm.KLDivergenceScore(), jsm.KLDivergenceScore(ablation="mean")),
    "edges": (
        jsm.ActivationStatistics(FEATURES, histogram_edges=(1.0,)),
        jsm.ActivationStatistics(FEATURES, histogram_edges=(2.0,)),
    ),
    "about zero": (
        jsm.ExplainedVariance(FEATURES),
        jsm.ExplainedVariance(FEATURES, definition="uncentered"),
    ),
    "correlation": (
        jsm.ExplainedVariance(FEATURES, definition="squared_correlation"),
        jsm.ExplainedVariance(FEATURES),
    ),
    "another metric": (jsm.L1AbsoluteLoss(), jsm.LossIncrease()),
    "in a collection": (
        jsm.MetricCollection({"density": jsm.FeatureDensity(FEATURES)}),
        jsm.MetricCollection({"density": jsm.FeatureDensity(FEATURES, threshold=0.5)}),
    ),
    "of components": (
        jsm.PerComponent(jsm.L0Norm(2), ("a", "b")),
        jsm.PerComponent(jsm.L0Norm(2, absolute=False), ("a", "b")),
    ),
}
# Fields that only read a state make no such difference.
OTHERWISE_READ = {
    **{
        definition: (
            jsm.ExplainedVariance(FEATURES),
            jsm.ExplainedVariance(FEATURES, definition=definition),
        )
        for definition in (
            "residual_variance",
            "scalar_mean",
            "total_variance",
            "per_dimension_mean",
        )
    },
    "quantiles": (jsm.L0Histogram(FEATURES), jsm.L0Histogram(FEATURES, quantiles=(0.1,))),
    "ages": (jsm.DeadFeatures(FEATURES), jsm.DeadFeatures(FEATURES, after_tokens=(1, 2))),
    "portion": (
        jsm.NeuronActivity(FEATURES),
        jsm.NeuronActivity(FEATURES, threshold_is_dead_portion_fires=0.1),
    ),
    "names": (
        jsm.PerComponent(jsm.L0Norm(2), ("a", "b")),
        jsm.PerComponent(jsm.L0Norm(2), ("c", "d"), "l0"),
    ),
}
CALLS = {
    "compute": lambda metric, state: metric.compute(state),
    "merge": lambda metric, state: metric.merge(metric.init(), state),
    "accumulate": lambda metric, state: metric.accumulate(state, None),
    "all_reduce": lambda metric, state: metric.all_reduce(state, "data"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(("metric", "other"), OTHERWISE_COUNTED.values(), ids=OTHERWISE_COUNTED)
def test_a_state_that_was_counted_otherwise_is_refused_while_tracing(metric, other, call):
    with pytest.raises(ValueError, match=r"(?s)state: not a state of .*counted by"):
        jax.eval_shape(functools.partial(call, other), metric.init())


@pytest.mark.parametrize(("metric", "other"), OTHERWISE_READ.values(), ids=OTHERWISE_READ)
def test_a_state_is_read_otherwise(metric, other):
    jax.eval_shape(other.compute, metric.init())
    jax.eval_shape(other.merge, metric.init(), other.init())


def test_configurations_that_compare_equal_take_each_others_states():
    class Thresholds(jsm.AbstractMetric):
        thresholds: tuple = eqx.field(static=True)

        def _init(self):
            return jsm.Count.zeros(())

        def _observe(self, batch):
            raise NotImplementedError

        def _compute(self, state):
            return state.to_int()

    integers, floats = Thresholds((0, 1)), Thresholds((0.0, 1.0))
    assert integers == floats
    assert integers.merge(floats.init(), integers.init()).counted_by == floats.init().counted_by


def test_a_state_has_its_accumulators_as_attributes_and_survives_pickling():
    metric = jsm.FeatureDensity(2)
    state = metric.update(metric.init(), learned_activations=jnp.array([[1.0, 0.0]]))
    for same in (state, pickle.loads(pickle.dumps(jax.device_get(state)))):
        np.testing.assert_array_equal(same.num_fired.to_numpy(), [1, 0])
    with pytest.raises(AttributeError, match="num_dead"):
        _ = state.num_dead


@pytest.mark.parametrize("case", DEFAULT_CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("memory_kind", ["device", "pinned_host"])
def test_only_learned_features_are_split_between_devices(case, memory_kind):
    """There are as many input features, 4, as devices along the axis."""
    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    sharding = NamedSharding(mesh, P(None, "model"), memory_kind=memory_kind)
    for leaf in jax.tree.leaves(case.build(3).init(sharding=sharding)):
        axes = ("model" if size == NUM_LEARNED_FEATURES else None for size in leaf.shape)
        wanted = NamedSharding(mesh, P(*axes))
        assert leaf.sharding.is_equivalent_to(wanted.with_memory_kind(memory_kind), leaf.ndim)


def test_a_state_of_a_collection_is_a_dictionary_that_cannot_be_changed():
    metrics = jsm.MetricCollection({"l1": jsm.L1AbsoluteLoss(), "l0": jsm.L0Norm()})
    inputs = {"learned_activations": jnp.ones((2, FEATURES))}
    state = metrics.update(metrics.init(), **inputs)
    assert dict(state).keys() == {"l0", "l1"}
    assert len(state) == 2
    assert "l0" in state
    with pytest.raises(TypeError, match="item assignment"):
        state["l0"] = state["l1"]
    other = metrics["l0"].init()
    replaced = jax.lax.cond(True, lambda: state | {"l0": other}, lambda: state)
    for given in (replaced, {**state, "l0": other}):
        values = metrics.compute(metrics.merge(given, metrics.init()))
        assert np.isnan(values["l0"])
        assert values["l1"] == FEATURES


def test_the_component_axis_is_split_wherever_there_is_one():
    mesh = jax.make_mesh((2, 4), ("component", "model"), axis_types=(AxisType.Auto,) * 2)
    metrics = jsm.training_metrics(8, 3, num_components=2)  # 3 input features for 4 devices
    state = metrics.init(sharding=NamedSharding(mesh, P("component", "model")))
    specs = {leaf.shape: tuple(leaf.sharding.spec) for leaf in jax.tree.leaves(state)}
    assert specs == {
        (2,): ("component",),  # a clock
        (2, 2): (None, "component"),  # a count
        (2, 8): ("component", "model"),  # when features last fired
        (2, 2, 8): (None, "component", "model"),  # how often they fired
        (2, 2, 2): (None, None, "component"),  # counts of moments
        (2, 2, 2, 2, 3): (None, None, None, "component"),  # moments
        # Sums of ratios, and products of any two components, are whole on every device.
        (4, 2, 2): (None,),
        (4, 2, 10, 2): (None,),
    }


def assert_same_arrays(got, wanted):
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        assert isinstance(one, jax.Array)
        assert jax.typeof(one) == jax.typeof(other)
    # What one half of a total lacks, the other has.
    totals_as_values = functools.partial(map_totals, lambda total: total.to_numpy())
    for one, other in zip(*map(jax.tree.leaves, map(totals_as_values, (got, wanted))), strict=True):
        if not jnp.issubdtype(other.dtype, jax.dtypes.prng_key):
            # Products of residuals cancel: what is left is as exact as the largest of them.
            largest = np.max(np.abs(other), where=np.isfinite(other), initial=1)
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * largest)


def map_totals(function, tree):
    is_total = lambda node: isinstance(node, jsm.Total)  # noqa: E731
    return jax.tree.map(
        lambda node: function(node) if is_total(node) else node, tree, is_leaf=is_total
    )


def to_numpy(tree):
    """What `np.load` gives: arrays, and scalars in place of arrays without axes."""
    return jax.tree.map(
        lambda leaf: leaf[()] if isinstance(leaf, np.ndarray) else leaf, jax.device_get(tree)
    )


def in_every_call(metric, inputs):
    """Calls by name, each a function of a state."""
    calls = {
        "update": lambda state: metric.update(state, **inputs),
        "merge": lambda state: metric.merge(state, state),
        "compute": metric.compute,
        "standard_error": metric.standard_error,
    }
    try:
        jax.eval_shape(metric.standard_error, metric.init())
    except TypeError:
        del calls["standard_error"]
    return calls


@few_and_all_together
def test_a_state_of_numpy_arrays_is_as_good(subject):
    metric, inputs = subject.build(), subject.inputs()
    state = jax.jit(metric.update)(metric.init(), **inputs)
    saved = to_numpy(state)
    for call in in_every_call(metric, inputs).values():
        wanted = jax.jit(call)(state)
        assert_same_arrays(call(saved), wanted)
        assert_same_arrays(jax.jit(call)(saved), wanted)
    observation = metric.observe(**inputs)
    twice = metric.combine(observation, observation)
    assert_same_arrays(metric.combine(*[to_numpy(observation)] * 2), twice)
    wanted = metric.accumulate(state, twice)
    assert_same_arrays(metric.accumulate(saved, to_numpy(twice)), wanted)


@pytest.mark.parametrize(
    "metric",
    [
        jsm.L0Histogram(FEATURES),
        jsm.FeatureDensity(FEATURES),
        jsm.ActivationStatistics(FEATURES),
        jsm.DeadFeatures(FEATURES),
    ],
    ids=lambda metric: type(metric).__name__,
)
def test_additions_to_few_features_of_numpy_arrays(metric):
    inputs = {"learned_activations": top_k_form(jnp.arange(FEATURES, dtype=jnp.float32)[None])}
    update = functools.partial(metric.update, **inputs)
    state = update(metric.init())
    assert_same_arrays(update(to_numpy(state)), update(state))


def test_an_observation_has_its_parts_as_attributes():
    observation = jsm.FeatureDensity(2).observe(learned_activations=jnp.array([[1.0, 0.0]]))
    np.testing.assert_array_equal(observation.num_fired, [1, 0])
    assert observation["num_activation_vectors"] == 1


class OfEveryLaw(jsm.AbstractMetric):
    """One accumulator of each kind that must not be summed, and both kinds that are sums."""

    def _init(self):
        shape = (FEATURES,)
        return {
            "fired": jsm.Count.zeros(shape),
            "total": jsm.Total.zeros(shape),
            "largest": jsm.Maximum.empty(shape),
            "last": jsm.LastSeen.zeros(shape),
            "moments": jsm.Moments.zeros(shape),
            "vectors": jsm.VectorBuffer.zeros(shape, capacity=40),
        }

    def _observe(self, batch):
        learned = batch.learned_activations
        return {
            "fired": learned.sum_per_feature(lambda f: f > 0),
            "total": learned.sum_per_feature(jnp.square),
            "largest": learned.max_per_feature(lambda f: f),
            "last": learned.last_per_feature(lambda f: f > 1),
            "moments": learned.moments_per_feature(lambda f: f + 1000),
            "vectors": learned.all_vectors(),
        }

    def _compute(self, state):
        value = {name: state[name].to_float() for name in ("fired", "total", "largest")}
        last, moments, vectors = (state[name] for name in ("last", "moments", "vectors"))
        return value | {
            "age": last.age(),
            "clock": last.clock,
            "mean": moments.mean.to_float(),
            "variance": moments.variance(),
            "vectors": vectors.values,
        }


def draw_batches():
    """Draw batches of unequal size, one of them empty, with means that drift."""
    rng = np.random.default_rng(0)
    return [
        jnp.asarray(rng.normal(size=(size, FEATURES)) + drift, jnp.float32)
        for drift, size in enumerate((7, 1, 0, 20))
    ]


def assert_close(value, wanted):
    for name, want in wanted.items():
        np.testing.assert_allclose(value[name], want, rtol=2e-6, atol=1e-6, err_msg=name)


ORDERS = {
    "from the left": lambda combine, a, b, c, d: combine(combine(combine(a, b), c), d),
    "from the right": lambda combine, a, b, c, d: combine(a, combine(b, combine(c, d))),
    "in pairs": lambda combine, a, b, c, d: combine(combine(a, b), combine(c, d)),
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_combined_observations_of_micro_batches_are_that_of_the_batch(order):
    metric = OfEveryLaw()
    batches = draw_batches()

    @jax.jit
    def combined(batches):
        return order(metric.combine, *(metric.observe(learned_activations=b) for b in batches))

    value = metric.compute(metric.accumulate(metric.init(), combined(batches)))
    whole = jnp.concatenate(batches)
    assert_close(value, metric.compute(metric.update(metric.init(), learned_activations=whole)))
    variance = np.float64(whole).var(0)
    np.testing.assert_allclose(value["variance"], variance, rtol=1e-4)


SUMS = {
    "jnp.add": lambda one, other: jax.tree.map(jnp.add, one, other),
    "+": lambda one, other: jax.tree.map(operator.add, one, other),
    "a mean": lambda one, other: jax.tree.map(lambda a, b: (a + b) / 2, one, other),
    "sum": lambda *both: jax.tree.map(lambda *leaves: sum(leaves), *both),
    "a stack": lambda *both: jax.tree.map(lambda *x: jnp.stack(x).sum(0, x[0].dtype), *both),
}
NO_SUMS = {
    "training": jsm.training_metrics(FEATURES, 4),
    "maxima": jsm.ActivationStatistics(FEATURES),
    "positions": jsm.DeadFeatures(FEATURES),
    "moments": jsm.OutlierSeverity(4),
    "vectors": jsm.Capacity(3, FEATURES),
}


def observe(metric, inputs):
    """Observe the inputs that the metric reads."""
    try:
        return metric.observe(**inputs)
    except TypeError as error:
        unknown = str(error).partition(":")[0].split(", ")
        return metric.observe(**{n: x for n, x in inputs.items() if n not in unknown})


@pytest.mark.parametrize("add", SUMS.values(), ids=SUMS)
@pytest.mark.parametrize("metric", NO_SUMS.values(), ids=NO_SUMS)
def test_a_sum_of_observations_that_would_be_a_wrong_number_is_refused(metric, add):
    inputs = {
        "source_activations": jnp.ones((5, 4)),
        "learned_activations": jnp.ones((5, FEATURES)),
        "decoded_activations": jnp.ones((5, 4)),
    }
    for jit in (lambda f: f, jax.jit):
        one = jit(functools.partial(observe, metric))(inputs)
        with pytest.raises((TypeError, NotImplementedError)):
            jit(add)(one, one)


@pytest.mark.parametrize("check_vma", [True, False])
@pytest.mark.parametrize("metric", NO_SUMS.values(), ids=NO_SUMS)
def test_a_psum_of_observations_is_refused_before_they_are_accumulated(metric, check_vma):
    """Also where nobody looks at the key that refuses it."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))

    @jax.jit
    @functools.partial(
        jax.shard_map, mesh=mesh, in_specs=P("data"), out_specs=P(), check_vma=check_vma
    )
    def run(inputs):
        summed = jax.lax.psum(observe(metric, inputs), "data")
        return metric.accumulate(metric.init(), summed)

    sizes = {"source_activations": 4, "learned_activations": FEATURES, "decoded_activations": 4}
    with pytest.raises((TypeError, NotImplementedError, ValueError)):
        run({name: jnp.ones((16, size)) for name, size in sizes.items()})


def test_what_is_no_observation_of_the_metric_cannot_be_combined():
    density, other = (jsm.FeatureDensity(FEATURES, threshold=t) for t in (0.0, 0.5))
    one, two = (m.observe(learned_activations=jnp.ones((4, FEATURES))) for m in (density, other))
    for earlier, later in ((one, two), (one, density.init()), (None, one)):
        with pytest.raises(ValueError, match=r"observation: .*its `observe` or `combine`"):
            density.combine(earlier, later)


def test_an_observation_with_other_names_than_the_state_says_which():
    class Misspelt(jsm.AbstractMetric):
        def _init(self):
            return {"fired": jsm.Count.zeros((FEATURES,))}

        def _observe(self, batch):
            return {"fierd": batch.learned_activations.sum_per_feature(lambda f: f > 0)}

        def _compute(self, state):
            return state["fired"].to_int()

    metric = Misspelt()
    with pytest.raises(ValueError, match="has fierd where the state has fired"):
        metric.update(metric.init(), learned_activations=jnp.ones((4, FEATURES)))


def test_an_observation_may_be_of_the_class_of_the_state():
    """Authors wrote metrics like this before observations had names of their own."""

    class Fired(eqx.Module):
        num_fired: object

    class Metric(jsm.AbstractMetric):
        def _init(self):
            return Fired(jsm.Count.zeros((FEATURES,)))

        def _observe(self, batch):
            return Fired(batch.learned_activations.sum_per_feature(lambda f: f > 0))

        def _compute(self, state):
            return state.num_fired.to_int()

    metric = Metric()
    state = metric.update(metric.init(), learned_activations=jnp.ones((4, FEATURES)))
    np.testing.assert_array_equal(metric.compute(state), np.full(FEATURES, 4))
