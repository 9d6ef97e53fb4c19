"""Metrics of many batches: moving averages, windows and ages; what `forward` and `reset` do."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

import jax_sae_metrics as jsm

FEATURES = 6
NUM_DEVICES = 8


def draw(num_batches, size=8, seed=0):
    rng = np.random.default_rng(seed)
    shape = (num_batches, size, FEATURES)
    return jnp.asarray(rng.normal(size=shape) * (rng.random(shape) < 0.5), jnp.float32)


def run(metric, batches, state=None, **others):
    update = jax.jit(metric.update)
    state = metric.init() if state is None else state
    for batch in batches:
        state = update(state, learned_activations=batch, **others)
    return state


def l0_of(batches):
    return np.count_nonzero(np.asarray(batches), axis=-1).mean()


@pytest.mark.parametrize(
    ("num_updates", "num_parts", "lengths"),
    [
        (4, 2, [1, 2, 3, 4, 3, 4, 3, 4]),  # two parts of two
        (3, 8, [1, 2, 3, 3, 3, 3, 3, 3]),  # three parts of one
        (5, 2, [1, 2, 3, 4, 5, 6, 4, 5]),  # two parts of three
        (3, 1, [1, 2, 3, 1, 2, 3, 1, 2]),
        (5, 4, [1, 2, 3, 4, 5, 6, 5, 6]),  # three parts of two, where four would be of eight
    ],
)
def test_a_window_is_the_metric_of_its_last_updates(num_updates, num_parts, lengths):
    batches = draw(len(lengths))
    metrics = jsm.MetricCollection({"l0": jsm.L0Norm(), "fired": jsm.NeuronFiredCount(FEATURES)})
    window = jsm.Window(metrics, num_updates, num_parts)
    state = window.init()
    for end, length in enumerate(lengths, 1):
        state = run(window, batches[end - 1 : end], state)
        of_last = run(metrics, batches[end - length : end])
        for value, wanted in (
            (window.compute(state), metrics.compute(of_last)),
            (window.standard_error(state), metrics.standard_error(of_last)),
        ):
            assert value.keys() == wanted.keys()
            for name in wanted:
                np.testing.assert_allclose(value[name], wanted[name], rtol=1e-6)


@pytest.mark.parametrize("num_earlier", [0, 1, 3])
@pytest.mark.parametrize("num_later", [0, 1, 2, 5])
def test_merged_windows_keep_the_latest_parts(num_earlier, num_later):
    """In parts of one update, as in one run; and the merged window goes on like any other."""
    batches = draw(num_earlier + num_later + 2)
    window = jsm.Window(jsm.L0Norm(), num_updates=3)
    earlier = run(window, batches[:num_earlier])
    later = run(window, batches[num_earlier:-2])
    state = jax.jit(window.merge)(earlier, later)
    for end in (len(batches) - 2, len(batches)):
        value = window.compute(state)
        wanted = l0_of(batches[max(0, end - 3) : end]) if end else np.nan
        np.testing.assert_allclose(value, wanted, rtol=1e-6)
        state = run(window, batches[-2:], state)


def average_of(values, decay):
    """The moving average of values `[batch, ...]`, by its definition."""
    values = np.asarray(values, np.float64)
    weights = decay ** np.arange(len(values))[::-1].reshape(-1, *(1,) * (values.ndim - 1))
    weights = np.where(np.isnan(values), 0, weights)
    with np.errstate(invalid="ignore"):
        return np.nansum(weights * values, axis=0) / weights.sum(0)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_a_moving_average_is_of_the_values_of_batches(decay):
    """Features that are active nowhere in a batch have no mean there, and it no weight for them."""
    metrics = jsm.MetricCollection(
        {
            "statistics": jsm.ActivationStatistics(FEATURES),
            "fired": jsm.NeuronFiredCount(FEATURES),
            "l0": jsm.L0Norm(),
        }
    )
    batches = draw(6, size=2).at[2].set(0)
    each = [metrics.compute(run(metrics, [batch])) for batch in batches]
    metric = jsm.MovingAverage(metrics, decay)
    state = run(metric, batches)
    earlier, later = run(metric, batches[:4]), run(metric, batches[4:])
    for averages in map(metric.compute, (state, metric.merge(earlier, later))):
        assert list(averages) == list(each[0])
        for name, average in averages.items():
            wanted = average_of([value[name] for value in each], decay)
            np.testing.assert_allclose(average, wanted, rtol=1e-5, err_msg=name)


def test_a_batch_that_is_masked_out_has_no_weight_but_its_time_passes():
    metric = jsm.MovingAverage(jsm.L0Norm(), 0.5)
    one, other = draw(2)
    state = run(metric, [one])
    state = run(metric, [one], state, mask=jnp.zeros(8, bool))
    state = run(metric, [other], state)
    wanted = average_of([l0_of(one), np.nan, l0_of(other)], 0.5)
    np.testing.assert_allclose(metric.compute(state), wanted, rtol=1e-6)


@pytest.mark.parametrize("check_vma", [True, False])
def test_on_devices_a_batch_is_that_of_all_of_them(check_vma):
    batches = draw(5, size=NUM_DEVICES * 2)
    # A metric that is no mean of what the devices have.
    metrics = jsm.MetricCollection(
        {
            "average": jsm.MovingAverage(jsm.NeuronActivity(FEATURES, None, 0.3), 0.5),
            "window": jsm.Window(jsm.NeuronActivity(FEATURES, None, 0.3), num_updates=3),
        }
    )
    mesh = jax.make_mesh((NUM_DEVICES,), ("data",), axis_types=(AxisType.Auto,))

    def step(state, batch):
        return metrics.update(state, learned_activations=batch, axis_name="data")

    on_devices = jax.jit(
        jax.shard_map(
            step, mesh=mesh, in_specs=(P(), P("data")), out_specs=P(), check_vma=check_vma
        )
    )
    state = metrics.init()
    for batch in batches:
        state = on_devices(state, batch)
    wanted = metrics.compute(run(metrics, batches))
    for name, value in metrics.compute(state).items():
        np.testing.assert_allclose(value, wanted[name], rtol=1e-6, err_msg=name)


def test_all_reduce_joins_windows_part_by_part_and_takes_the_mean_of_averages():
    batches = draw(4, size=NUM_DEVICES * 2)
    window, average = jsm.Window(jsm.L0Norm(), 2), jsm.MovingAverage(jsm.L0Norm(), 0.5)
    metrics = jsm.MetricCollection({"window": window, "average": average})
    mesh = jax.make_mesh((NUM_DEVICES,), ("data",), axis_types=(AxisType.Auto,))

    @jax.jit
    @functools.partial(jax.shard_map, mesh=mesh, in_specs=P(None, "data"), out_specs=P())
    def on_devices(batches):
        state = metrics.init()
        for batch in batches:
            state = metrics.update(state, learned_activations=batch)
        return metrics.all_reduce(state, "data")

    values = metrics.compute(on_devices(batches))
    np.testing.assert_allclose(values["window"], l0_of(batches[2:]), rtol=1e-6)
    np.testing.assert_allclose(
        values["average"], average_of([l0_of(batch) for batch in batches], 0.5), rtol=1e-6
    )


def everything():
    inner = {
        "l0": jsm.L0Norm(),
        "dead": jsm.DeadFeatures(FEATURES, after_tokens=9),
        "fraction": jsm.DeadFeatureFraction(FEATURES, after_tokens=9),
        "average": jsm.MovingAverage(jsm.L0Norm(), 0.5),
        "window": jsm.Window(jsm.L0Norm(), 3),
        "named": jsm.MetricCollection({"l0": jsm.L0Norm()}),
    }
    renamed = jsm.Renamed(jsm.MetricCollection(inner), learned_activations="others")
    components = jsm.MetricCollection({"l0": jsm.L0Norm(1), "dead": jsm.DeadFeatures(FEATURES, 1)})
    each = jsm.PerComponent(components, "a")
    return jsm.MetricCollection(inner | {"renamed": renamed}), each


RUNNING = {"dead", "fraction", "average", "window"}


def test_forward_gives_the_value_of_the_batch_where_a_batch_has_one():
    metrics, _ = everything()
    batches = draw(4)
    state = metrics.init()
    for batch in batches:
        state, values = jax.jit(metrics.forward)(state, learned_activations=batch, others=batch)
        own = metrics.update(metrics.init(), learned_activations=batch, others=batch)
        of_batch, so_far = metrics.compute(own), metrics.compute(state)
        for name, value in values.items():
            wanted = so_far if RUNNING & set(name.split("/")) else of_batch
            np.testing.assert_array_equal(value, wanted[name], err_msg=name)
    all_at_once = metrics.init()
    for batch in batches:
        all_at_once = metrics.update(all_at_once, learned_activations=batch, others=batch)
    for name, value in metrics.compute(all_at_once).items():
        np.testing.assert_allclose(so_far[name], value, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("which", [0, 1], ids=["collection", "per component"])
def test_reset_keeps_what_is_not_of_a_window(which):
    metric = everything()[which]
    (batch,) = draw(1)
    batch = batch[:, None] if which else batch
    others = {"others": batch} if which == 0 else {}
    state = metric.update(metric.init(), learned_activations=batch, **others)
    before, empty = metric.compute(state), metric.compute(metric.init())
    for reset in (metric.reset, jax.jit(metric.reset)):
        for name, value in metric.compute(reset(state)).items():
            wanted = before if RUNNING & set(name.split("/")) else empty
            np.testing.assert_array_equal(value, wanted[name], err_msg=name)


def test_a_reset_state_stays_where_it_is():
    mesh = jax.make_mesh((NUM_DEVICES,), ("model",), axis_types=(AxisType.Auto,))
    metric = jsm.MetricCollection(
        {
            "density": jsm.FeatureDensity(16),
            "window": jsm.Window(jsm.FeatureDensity(16), 3),
            "average": jsm.MovingAverage(jsm.FeatureDensity(16), 0.5),
            "renamed": jsm.Renamed(jsm.FeatureDensity(16), learned_activations="others"),
        }
    )
    spec = P("model")
    state = metric.init(sharding=NamedSharding(mesh, spec))
    wanted = jax.tree.map(lambda spec: NamedSharding(mesh, spec), metric.partition_specs(spec))
    num_sharded = 0
    for one in (state, metric.reset(state)):
        for leaf, sharding in zip(*map(jax.tree.leaves, (one, wanted)), strict=True):
            assert leaf.sharding.is_equivalent_to(sharding, leaf.ndim)
            num_sharded += not leaf.sharding.is_fully_replicated
    # Counts of firing, and averages as two sums.
    assert num_sharded == 2 * (1 + 1 + 2 + 1)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: jsm.MovingAverage(jsm.L0Norm(), 1.0), "decay: expected less than 1"),
        (lambda: jsm.MovingAverage(jsm.L0Norm(), 1.5), "decay"),
        (lambda: jsm.Window(jsm.L0Norm(), 0), "num_updates"),
        (lambda: jsm.Window(jsm.L0Norm(), 3, 0), "num_parts"),
        (lambda: jsm.Renamed(jsm.L0Norm()), "expected a new name"),
        (lambda: jsm.Renamed(jsm.L0Norm(), learned_activations=""), "learned_activations"),
    ],
)
def test_what_makes_no_sense_is_refused(build, says):
    with pytest.raises((TypeError, ValueError), match=says):
        build()


def test_two_names_for_one_input_and_a_swap():
    """A transcoder: its output is compared with another place of the model."""
    rng = np.random.default_rng(0)
    source, target, decoded = (rng.normal(size=(5, 3)).astype(np.float32) for _ in range(3))
    plain = jsm.L2ReconstructionLoss()
    metrics = jsm.MetricCollection(
        {
            "of_source": plain,
            "of_target": jsm.Renamed(plain, source_activations="target_activations"),
            "swapped": jsm.Renamed(
                jsm.NormalizedMSE(),
                source_activations="decoded_activations",
                decoded_activations="source_activations",
            ),
            "twice": jsm.Renamed(
                jsm.Renamed(plain, source_activations="middle"), middle="target_activations"
            ),
            "masked": jsm.Renamed(plain, mask="other_mask"),
        }
    )
    values = metrics.compute(
        metrics.update(
            metrics.init(),
            source_activations=source,
            target_activations=target,
            decoded_activations=decoded,
            other_mask=jnp.arange(5) < 2,
        )
    )
    error = (source - decoded) ** 2
    wanted = {
        "of_source": error.mean(),
        "of_target": ((target - decoded) ** 2).mean(),
        "swapped": (error.sum(-1) / (decoded**2).sum(-1)).mean(),
        "twice": ((target - decoded) ** 2).mean(),
        "masked": error[:2].mean(),
    }
    assert values.keys() == wanted.keys()
    for name, value in values.items():
        np.testing.assert_allclose(value, wanted[name], rtol=1e-6, err_msg=name)


def test_errors_name_the_input_as_it_is_called():
    metric = jsm.Renamed(jsm.L2ReconstructionLoss(), source_activations="target_activations")
    with pytest.raises(TypeError, match="target_activations: L2ReconstructionLoss needs"):
        metric.update(metric.init(), decoded_activations=jnp.zeros((2, 3)))
    with pytest.raises(ValueError, match="target_activations and decoded_activations"):
        metric.update(
            metric.init(),
            target_activations=jnp.zeros((2, 4)),
            decoded_activations=jnp.zeros((2, 3)),
        )
    with pytest.raises(ValueError, match="counted by"):
        jsm.L2ReconstructionLoss().compute(metric.init())
