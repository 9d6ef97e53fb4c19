"""Numbers and arrays for a logger are what `compute` gives, under the right names."""

import functools
import struct

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

import jax_sae_metrics as jsm
from subjects import few_and_all_together

FEATURES = 4


def flat(arrays):
    return np.concatenate([[], *(np.ravel(array) for array in arrays)])


@few_and_all_together
def test_every_entry_is_a_scalar_or_in_a_histogram(subject):
    metric = subject.build()
    state = jax.jit(metric.update)(metric.init(), **subject.inputs())
    arrays = jsm.histograms(metric, state)

    def is_array(result):
        return any(f"{name}/".startswith(f"{result}/") for name in arrays)

    value = metric.compute(state)
    long = [value[result] for result in value if is_array(result)]
    short = [value[result] for result in value if not is_array(result)]
    assert all(array.ndim >= 1 for array in arrays.values())
    np.testing.assert_array_equal(flat(arrays.values()), flat(long))
    np.testing.assert_array_equal(list(jsm.scalars(metric, state).values()), flat(short))
    assert all(type(number) is float for number in jsm.scalars(metric, state).values())


COLLECTION = jsm.MetricCollection(
    {
        "l0": jsm.L0Norm(2),
        "inner": jsm.MetricCollection({"dead": jsm.DeadFeatures(FEATURES, 2, after_tokens=(1, 9))}),
        "named": jsm.PerComponent(jsm.L0Norm(2), ("a/b", "c")),
        "density": jsm.FeatureDensity(FEATURES, 2),
    }
)
# (metric, arguments, names of the scalars, names and shapes of the arrays).
NAMES = {
    "its class": (jsm.L0Norm(), {}, ["L0Norm"], {}),
    "the prefix": (jsm.L0Norm(), {"prefix": "train"}, ["train"], {}),
    "components": (jsm.L0Norm(2), {}, ["L0Norm/0", "L0Norm/1"], {}),
    "one age": (jsm.DeadFeatures(FEATURES), {"prefix": "dead"}, ["dead"], {}),
    "ages": (
        jsm.DeadFeatures(FEATURES, after_tokens=(5, 70)),
        {"prefix": "dead"},
        ["dead/5", "dead/70"],
        {},
    ),
    "per feature": (jsm.FeatureDensity(FEATURES), {}, [], {"FeatureDensity": (FEATURES,)}),
    "components before features": (
        jsm.FeatureDensity(FEATURES, 2),
        {"prefix": "d"},
        [],
        {"d/0": (FEATURES,), "d/1": (FEATURES,)},
    ),
    "results": (
        jsm.L0Histogram(FEATURES, quantiles=(0.5, 0.9)),
        {"prefix": "l0", "separator": "."},
        ["l0.quantiles.0.5", "l0.quantiles.0.9"],
        {"l0.histogram": (FEATURES + 1,)},
    ),
    "a collection": (
        COLLECTION,
        {"prefix": "eval", "separator": "-"},
        [
            *["eval-l0-0", "eval-l0-1"],
            *["eval-inner-dead-0-1", "eval-inner-dead-0-9"],
            *["eval-inner-dead-1-1", "eval-inner-dead-1-9"],
            *["eval-named-a-b", "eval-named-c", "eval-named-mean"],
        ],
        {"eval-density-0": (FEATURES,), "eval-density-1": (FEATURES,)},
    ),
}


@pytest.mark.parametrize(("metric", "how", "names", "arrays"), NAMES.values(), ids=NAMES)
def test_names(metric, how, names, arrays):
    assert list(jsm.scalars(metric, metric.init(), **how)) == names
    got = jsm.histograms(metric, metric.init(), **how)
    assert {name: array.shape for name, array in got.items()} == arrays


def of_batches(metric, num_batches=2):
    rng = np.random.default_rng(0)
    for _ in range(num_batches):
        learned = np.maximum(rng.normal(size=(5, 2, FEATURES)), 0)
        yield {"learned_activations": jnp.asarray(learned, jnp.float32)}


def test_errors_follow_the_values_that_have_them():
    state = COLLECTION.update(COLLECTION.init(), **next(of_batches(COLLECTION)))
    got = jsm.scalars(COLLECTION, state, errors=True)
    error = COLLECTION.standard_error(state)
    assert got["l0/1/standard_error"] == error["l0"][1] > 0
    assert got["named/mean/standard_error"] == error["named/mean"]
    values = {name: x for name, x in got.items() if not name.endswith("/standard_error")}
    assert values == jsm.scalars(COLLECTION, state)
    with_error = {name.removesuffix("/standard_error") for name in got.keys() - values.keys()}
    assert with_error == {name for name in values if "dead" not in name}
    dead = jsm.DeadFeatures(FEATURES)
    assert list(jsm.scalars(dead, dead.init(), errors=True)) == ["DeadFeatures"]


def test_one_array_is_transferred(monkeypatch):
    kind, as_array, transferred = type(jnp.zeros(())), np.asarray, []
    as_value = kind._value.fget

    def counted(array, *how, convert=as_value, **options):
        if isinstance(array, jax.Array):
            transferred.append(array.shape)
        return convert(array, *how, **options)

    state = COLLECTION.init()
    # `np.asarray` does not ask a JAX array for its value, where both share the memory of the CPU.
    monkeypatch.setattr(kind, "_value", property(counted))
    monkeypatch.setattr(np, "asarray", functools.partial(counted, convert=as_array))
    values = COLLECTION.compute(state)
    _ = float(values["named/c"]), np.asarray(values["l0"])
    assert transferred == [(), (2,)]
    transferred.clear()
    names = jsm.scalars(COLLECTION, state, errors=True)
    assert transferred == [(len(names),)]


class Results(jsm.AbstractMetric):
    """Results of several dtypes, made of one exact count."""

    def _init(self):
        return jsm.Count.zeros(())

    def _observe(self, batch):
        raise NotImplementedError

    def _compute(self, state):
        is_large = state.to_int() > 2
        return {
            "count": state.to_int(),
            "share": jnp.bfloat16(0.5),
            "is_large": is_large,
            "unsigned": is_large.astype(jnp.uint8) * jnp.uint8(255),
            "float": jnp.asarray(1 / 3, jnp.result_type(float)),
        }


@pytest.mark.parametrize(("x64", "count"), [(False, 2**24 + 1), (True, 2**40 + 1)])
def test_integers_do_not_pass_through_float32(x64, count):
    with jax.enable_x64(x64):
        metric = Results()
        words = jnp.asarray([count >> 32, count & (2**32 - 1)], jnp.uint32)
        state = jsm.State(metric.init().counted_by, jsm.Count(*words))
        assert jsm.scalars(metric, state) == {
            "count": count,
            "share": 0.5,
            "is_large": 1,
            "unsigned": 255,
            "float": 1 / 3 if x64 else float(np.float32(1 / 3)),
        }


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_a_state_that_is_split_between_devices(axis_type):
    mesh = jax.make_mesh((2, 4), ("component", "model"), axis_types=(axis_type,) * 2)
    state = COLLECTION.init(sharding=NamedSharding(mesh, P("component", "model")))
    assert (
        jsm.scalars(COLLECTION, state).keys() == jsm.scalars(COLLECTION, COLLECTION.init()).keys()
    )
    assert jsm.histograms(COLLECTION, state)["density/1"].shape == (FEATURES,)


def test_two_results_of_one_name_are_refused():
    metric = jsm.MetricCollection(
        {"a": jsm.MetricCollection({"b": jsm.L0Norm()}), "a_b": jsm.L0Norm()}
    )
    with pytest.raises(ValueError, match=r"the name 'a_b'\. .* another separator"):
        jsm.scalars(metric, metric.init(), separator="_")


@pytest.fixture
def without_checks_of_annotations():
    """As in a user's program."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


L0 = jsm.L0Norm()
WRONG = {
    "state": (ValueError, "state: not a state of L0Norm", lambda f: f(L0, None)),
    "class": (TypeError, "metric: expected a metric", lambda f: f(jsm.L0Norm, L0.init())),
    "prefix": (ValueError, "prefix: expected", lambda f: f(L0, L0.init(), prefix=None)),
    "separator": (ValueError, "separator: expected", lambda f: f(L0, L0.init(), separator="")),
}


@pytest.mark.usefixtures("without_checks_of_annotations")
@pytest.mark.parametrize("function", [jsm.scalars, jsm.histograms])
@pytest.mark.parametrize(("error", "says", "call"), WRONG.values(), ids=WRONG)
def test_wrong_arguments(function, error, says, call):
    with pytest.raises(error, match=says):
        call(function)


@pytest.mark.parametrize(("is_ready", "num_finished"), [(True, 2), (False, 0)])
def test_numbers_come_later_in_order_from_states_that_were_donated(
    monkeypatch, is_ready, num_finished
):
    """Whatever the device is doing: `put` asks, and does not wait."""
    monkeypatch.setattr(type(jnp.zeros(())), "is_ready", lambda array: is_ready)
    step = jax.jit(lambda state, inputs: L0.update(state, **inputs), donate_argnums=0)
    log = jsm.AsyncScalars(jsm.L0Norm(), prefix="l0", errors=True)
    state, kept, wanted, got = L0.init(), L0.init(), [], []
    for number, inputs in enumerate(of_batches(L0, 3)):
        inputs = {name: array[:, 0] for name, array in inputs.items()}
        donated, state = state, step(state, inputs)
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(donated))
        got += log.put(number, state)
        kept = L0.update(kept, **inputs)
        wanted.append((number, jsm.scalars(L0, kept, "l0", errors=True)))
    assert len(got) == num_finished
    assert got + log.flush() == wanted
    assert log.flush() == []


@pytest.mark.usefixtures("without_checks_of_annotations")
def test_wrong_arguments_of_async_scalars():
    with pytest.raises(ValueError, match="prefix: expected a string"):
        jsm.AsyncScalars(L0, prefix=0)
    with pytest.raises(ValueError, match="errors: expected True or False"):
        jsm.AsyncScalars(L0, errors=None)
    with pytest.raises(TypeError, match="metric: expected a metric"):
        jsm.AsyncScalars(None)
    with pytest.raises(ValueError, match="state: not a state of L0Norm"):
        jsm.AsyncScalars(L0).put(0, None)


def numbers_in(file):
    """The numbers of an event file by name: each record has its length before, and checksums."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    records, numbers = file.read_bytes(), {}
    while records:
        (size,) = struct.unpack("<Q", records[:8])
        event = event_pb2.Event.FromString(records[12 : 12 + size])
        numbers |= {value.tag: (event.step, value.simple_value) for value in event.summary.value}
        records = records[16 + size :]
    return numbers


def test_a_file_for_tensorboard_has_the_numbers(tmp_path):
    tensorboard = pytest.importorskip("tensorboardX")
    state = COLLECTION.update(COLLECTION.init(), **next(of_batches(COLLECTION)))
    values = jsm.scalars(COLLECTION, state, prefix="eval", errors=True)
    with tensorboard.SummaryWriter(str(tmp_path)) as writer:
        for name, value in values.items():
            writer.add_scalar(name, value, global_step=7)
    (file,) = tmp_path.iterdir()
    assert numbers_in(file) == {name: (7, np.float32(value)) for name, value in values.items()}
