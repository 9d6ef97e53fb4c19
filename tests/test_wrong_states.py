"""Misused states, observations, axes and functions are refused with what to do instead."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec as P

import jax_sae_metrics as jsm
from metric_case import split
from metric_cases import DEFAULT_CASES
from misuse import FEATURES, assert_says, collection, component_density, density
from subjects import few_and_each_alone

acts = jnp.ones((4, FEATURES))
of_components = component_density.init()
MISUSES = {
    "update of a state of another metric": (
        ValueError,
        lambda: density.update(jsm.L0Norm().init(), learned_activations=acts),
        ("state", "not a state of FeatureDensity", "init"),
    ),
    "update of a state of another configuration": (
        ValueError,
        lambda: density.update(of_components, learned_activations=acts),
        ("not a state of FeatureDensity", "num_components=3", "num_components=None"),
    ),
    "compute of a state of another metric": (
        ValueError,
        lambda: density.compute(jsm.L0Norm().init()),
        ("state", "not a state of FeatureDensity"),
    ),
    "compute of a state of the same shape of another metric": (
        ValueError,
        lambda: jsm.L2ReconstructionLoss().compute(jsm.L1AbsoluteLoss().init()),
        ("not a state of L2ReconstructionLoss", "counted by L1AbsoluteLoss"),
    ),
    "merge with a state of the same shape of another metric": (
        ValueError,
        lambda: density.merge(density.init(), jsm.NeuronActivity(FEATURES).init()),
        ("not a state of FeatureDensity", "counted by NeuronActivity"),
    ),
    "compute of states stacked over models": (
        ValueError,
        lambda: density.compute(jax.tree.map(lambda x: jnp.stack([x, x]), density.init())),
        ("not a state of FeatureDensity", "uint32[2,8]", "uint32[2,2,8]", "vmap"),
    ),
    "compute of a collection's state by one of its metrics": (
        ValueError,
        lambda: density.compute(collection.init()),
        ("not a state of FeatureDensity", "a dictionary of density, l2", "one may be meant"),
    ),
    "compute of a collection's state with a part missing": (
        ValueError,
        lambda: collection.compute({"density": density.init()}),
        ("state", "not a state of MetricCollection"),
    ),
    "compute of an observation": (
        ValueError,
        lambda: density.compute(density.observe(learned_activations=acts)),
        ("state", "not a state of FeatureDensity"),
    ),
    "merge with a state of another metric": (
        ValueError,
        lambda: density.merge(density.init(), jsm.NeuronFiredCount(FEATURES).init()),
        ("state", "not a state of FeatureDensity"),
    ),
    "all_reduce of a state of another metric": (
        ValueError,
        lambda: density.all_reduce(jsm.L0Norm().init(), "data"),
        ("state", "not a state of FeatureDensity"),
    ),
    "accumulate an observation of another metric": (
        ValueError,
        lambda: density.accumulate(density.init(), jsm.L0Norm().observe(learned_activations=acts)),
        ("observation", "FeatureDensity"),
    ),
    "accumulate an observation of another configuration": (
        ValueError,
        lambda: density.accumulate(
            density.init(), component_density.observe(learned_activations=jnp.ones((4, 3, 8)))
        ),
        ("observation", "counted by FeatureDensity", "num_components=3", "num_components=None"),
    ),
    "accumulate a state": (
        ValueError,
        lambda: density.accumulate(density.init(), density.init()),
        ("observation", "FeatureDensity", "in place of an observation there is a State"),
    ),
    "accumulate counts that were averaged": (
        ValueError,
        lambda: density.accumulate(
            density.init(),
            jax.tree.map(lambda x: x / 2, density.observe(learned_activations=acts)),
        ),
        ("observation", "int32[8]", "float32[8]"),
    ),
    "update with an axis that is not bound": (
        NameError,
        lambda: density.update(density.init(), axis_name="data", learned_activations=acts),
        ("axis_name='data'", "not bound", "shard_map"),
    ),
    "all_reduce with an axis that is not bound": (
        NameError,
        lambda: density.all_reduce(density.init(), ("data", "model")),
        ("axis_name=('data', 'model')", "not bound"),
    ),
    "inputs by position": (
        TypeError,
        lambda: collection.update(collection.init(), acts),
        ("update: MetricCollection takes", "by keyword", "learned_activations=...", "got 1 by pos"),
    ),
    "several inputs by position": (
        TypeError,
        lambda: jsm.L2ReconstructionLoss().observe(acts, acts),
        ("observe: ", "decoded_activations=..., source_activations=...", "got 2 by position"),
    ),
    "inputs of forward by position": (
        TypeError,
        lambda: jsm.LossIncrease().forward(jsm.LossIncrease().init(), acts),
        ("forward: ", "source_model_loss=..., source_model_loss_with_reconstruction=..., got 1"),
    ),
    **{
        f"{call} of a class": (TypeError, misuse, (f"{call}: ", "Make an instance of the metric"))
        for call, misuse in {
            "init": lambda: jsm.L0Norm.init(),
            "update": lambda: jsm.L0Norm.update(density.init(), learned_activations=acts),
            "observe": lambda: jsm.L0Norm.observe(learned_activations=acts),
            "compute": lambda: jsm.MetricCollection.compute(collection.init()),
            "merge": lambda: jsm.L0Norm.merge(density.init(), density.init()),
            "all_reduce": lambda: jsm.L0Norm.all_reduce(density.init(), "data"),
        }.items()
    },
    "loss functions of different widths": (
        ValueError,
        lambda: jsm.l2_reconstruction_loss(jnp.ones((4, 6)), jnp.ones((4, 1))),
        ("source_activations", "decoded_activations", "(4, 6)", "(4, 1)"),
    ),
    "loss functions of different batches": (
        ValueError,
        lambda: jsm.sparse_autoencoder_loss(
            jnp.ones((4, 6)), jnp.ones((5, 8)), jnp.ones((4, 6)), 0.1
        ),
        ("source_activations", "learned_activations", "(4,)", "(5,)"),
    ),
    "capacities of a single vector": (
        ValueError,
        lambda: jsm.capacities(jnp.ones(8)),
        ("features", "[vector, feature]", "(8,)"),
    ),
}


@pytest.mark.parametrize("name", MISUSES)
def test_misuse(name):
    error, call, says = MISUSES[name]
    assert_says(error, lambda: jax.eval_shape(call), says)


large = jsm.evaluation_metrics(FEATURES, 4, 2, model_losses=True, logits=True)
WRONG_STATES = {
    "a state of another metric": (lambda s: jsm.L0Norm().init(), "It is a State counted by L0Norm"),
    "a part that is missing": (lambda s: {n: s[n] for n in s if n != "l1"}, "It has no part 'l1'"),
    "a part too many": (lambda s: s | {"x": s["l0"]}, "It has a part 'x' too many"),
    "another configuration": (
        lambda s: s | {"density": jsm.FeatureDensityStatistics(9, 2).init()},
        "state['density'] was counted by FeatureDensityStatistics(num_learned_features=9",
    ),
    "parts that were swapped": (
        lambda s: s | {"l0": s["l1"], "l1": s["l0"]},
        "state['l0'] was counted by L1AbsoluteLoss",
    ),
    "an axis of models": (
        lambda s: jax.tree.map(lambda x: jnp.stack([x, x]), s),
        "state.states['ce_loss_score'].accumulators.recovered.halves: expected float32[2,2], got "
        "an array float32[2,2,2]. Call under `jax.vmap`",
    ),
    "Python numbers": (
        lambda s: s | {"l0": jax.tree.map(lambda x: 0.5, s["l0"])},
        "state['l0'].accumulators.num_units.words: expected uint32[2,2], got a float. Load saved",
    ),
    "lists of numbers": (
        lambda s: s | {"l0": jax.tree.map(lambda x: x.tolist(), s["l0"])},
        "state['l0'].accumulators.num_units.words[0][0]: expected nothing here, got an int. Load",
    ),
    "another dtype": (
        lambda s: s | {"l0": jax.tree.map(lambda x: np.asarray(x, np.int64), s["l0"])},
        "expected uint32[2,2], got a ndarray int64[2,2]. Load saved arrays",
    ),
    "shapes alone": (lambda s: jax.eval_shape(lambda: s), "It has no values: call under `jax.eva"),
    "plain dictionaries": (
        lambda s: s | {"l0": {"num_active": {"high": jnp.zeros(2), "low": jnp.zeros(2)}}},
        "state['l0'] is a dict of num_active, not a State",
    ),
    "no state": (lambda s: s | {"l0": None}, "state['l0'] is a NoneType, not a State"),
    "an array": (lambda s: jnp.zeros(3), "It is an array float32[3], not a dictionary of ce_loss"),
    "accumulators": (lambda s: s | {"l0": s["l0"].accumulators}, "is a RatioOfSums, not a State"),
}


@pytest.mark.parametrize("name", WRONG_STATES)
@pytest.mark.parametrize("call", ["compute", "standard_error"])
def test_a_wrong_state_is_named_in_a_few_words(name, call):
    wrong, says = WRONG_STATES[name]
    state = wrong(large.init())
    with pytest.raises(ValueError, match=r"^state: not a state of MetricCollection\.") as raised:
        getattr(large, call)(state)
    message = str(raised.value)
    assert says in message
    assert len(message.splitlines()) == 1
    assert len(message) < 400


@pytest.mark.parametrize("case", DEFAULT_CASES, ids=lambda case: case.name)
def test_a_state_in_place_of_an_observation_is_named(case):
    metric = case.build(2)
    for observation in (metric.init(), None, [], jnp.zeros(3)):
        with pytest.raises(ValueError, match=r"^observation: .*`observe` or `combine`") as raised:
            metric.accumulate(metric.init(), observation)
        assert len(str(raised.value)) < 400


def over_devices(function, *arguments, check_vma=True):
    """Call on each of 8 devices; arguments after the first are cut."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    specs = (P(), *(P("data") for _ in arguments[1:]))
    return jax.jit(
        jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=check_vma)
    )(*arguments)


def sum_and_all_reduce(metric, update):
    return metric.all_reduce(update(metric.init(), axis_name="data"), "data")


def all_reduce_twice(metric, update):
    return metric.all_reduce(metric.all_reduce(update(metric.init()), "data"), "data")


def all_reduce_nothing(metric, update):
    return metric.all_reduce(metric.init(), "data")


@few_and_each_alone
@pytest.mark.parametrize("run", [sum_and_all_reduce, all_reduce_twice, all_reduce_nothing])
def test_a_state_that_is_the_sum_already_is_not_summed_again(subject, run):
    metric = subject.build()
    constants, (batch,) = split(subject.inputs())

    def on_each_device(constants, batch):
        return run(metric, functools.partial(metric.update, **constants, **batch))

    assert_says(
        ValueError,
        lambda: jax.eval_shape(functools.partial(over_devices, on_each_device), constants, batch),
        ("state: all devices of 'data' hold the same state", "leave one of them out", "pcast"),
    )


def test_one_part_of_a_collection_that_is_the_sum_already_is_named():
    def mixed(_, acts):
        state = collection.init()
        whole = density.update(state["density"], axis_name="data", learned_activations=acts)
        own = collection.metrics["l2"].update(
            state["l2"], source_activations=acts, decoded_activations=acts
        )
        return collection.all_reduce({"density": whole, "l2": own}, "data")

    assert_says(
        ValueError, lambda: over_devices(mixed, (), jnp.ones((8, FEATURES))), ("FeatureDensity",)
    )


def test_a_part_of_each_device_that_jax_takes_for_the_same_is_marked_as_varying():
    """The number of items is the same on all devices, and all that this metric reads."""

    class NumVectors(jsm.AbstractMetric):
        def _init(self):
            return {"count": jsm.Count.zeros(())}

        def _observe(self, batch):
            return {"count": batch.learned_activations.items.count()}

        def _compute(self, state):
            return state["count"].to_int()

    metric = NumVectors()

    def count(marked, _, acts):
        mark = functools.partial(jax.lax.pcast, axis_name="data", to="varying")
        empty = jax.tree.map(mark, metric.init()) if marked else metric.init()
        own = metric.update(empty, learned_activations=acts)
        return metric.compute(metric.all_reduce(own, "data"))

    acts = jnp.ones((16, FEATURES))
    assert over_devices(functools.partial(count, True), (), acts) == 16
    assert over_devices(functools.partial(count, False), (), acts, check_vma=False) == 16
    with pytest.raises(ValueError, match="pcast"):
        over_devices(functools.partial(count, False), (), acts)
