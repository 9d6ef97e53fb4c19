"""Metrics in the ways in which optax loops are written, all with the same result."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from jax.sharding import AxisType, PartitionSpec as P

import jax_sae_metrics as jsm

INPUT, FEATURES, BATCH, STEPS, MICRO = 4, 16, 8, 3, 2

METRICS = jsm.MetricCollection(
    {
        "density": jsm.FeatureDensity(FEATURES),
        "l0": jsm.L0Norm(),
        "dead": jsm.NeuronActivity(FEATURES),
        "l1": jsm.L1AbsoluteLoss(),
        "l2": jsm.L2ReconstructionLoss(),
        "loss": jsm.SparseAutoencoderLoss(0.01),
    }
)


@pytest.fixture(autouse=True)
def standard_promotion():
    """Optax itself mixes dtypes."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def initial_params():
    keys = jax.random.split(jax.random.key(0), 2)
    return {
        "encoder": jax.random.normal(keys[0], (INPUT, FEATURES)),
        "decoder": jax.random.normal(keys[1], (FEATURES, INPUT)) / FEATURES,
    }


def data():
    return jax.random.normal(jax.random.key(1), (STEPS, BATCH, INPUT))


def activations(params, source):
    learned = jax.nn.relu(source @ params["encoder"])
    return {
        "source_activations": source,
        "learned_activations": learned,
        "decoded_activations": learned @ params["decoder"],
    }


def loss_fn(params, source):
    acts = activations(params, source)
    return jnp.mean(jsm.sparse_autoencoder_loss(**acts, l1_coefficient=0.01)), acts


def reference(optimizer):
    """The plain loop: gradients first, metrics beside them."""
    params, state = initial_params(), METRICS.init()
    opt_state = optimizer.init(params)
    for source in data():
        gradients, acts = jax.grad(loss_fn, has_aux=True)(params, source)
        state = METRICS.update(state, **acts)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        params = optax.apply_updates(params, updates)
    return params, METRICS.compute(state)


def loss_and_observation(params, source):
    loss, acts = loss_fn(params, source)
    return loss, METRICS.observe(**acts)


def loop_with_state(optimizer, step):
    """Metric state beside the optimizer state."""
    params, state = initial_params(), METRICS.init()
    opt_state = optimizer.init(params)
    for source in data():
        params, opt_state, state = step(params, opt_state, state, source)
    return params, METRICS.compute(state)


def loop_with_tracking(tracking, step, sources):
    """Metric state inside the optimizer state."""
    params = initial_params()
    opt_state = tracking.init(params)
    for source in sources:
        params, opt_state = step(params, opt_state, source)
    return params, METRICS.compute(optax.tree.get(opt_state, "metrics"))


def tracked_step(tracking, reduce=lambda gradients: gradients):
    def step(params, opt_state, source):
        gradients, acts = jax.grad(loss_fn, has_aux=True)(params, source)
        updates, opt_state = tracking.update(reduce(gradients), opt_state, params, **acts)
        return optax.apply_updates(params, updates), opt_state

    return step


def observation_as_aux(optimizer):
    @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
    def step(params, opt_state, state, source):
        gradients, observation = jax.grad(loss_and_observation, has_aux=True)(params, source)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        state = METRICS.accumulate(state, observation)
        return optax.apply_updates(params, updates), opt_state, state

    return loop_with_state(optimizer, step)


def tracked_in_a_chain(optimizer):
    tracking = optax.chain(jsm.track(METRICS), optimizer)
    step = jax.jit(tracked_step(tracking), donate_argnums=(0, 1))
    return loop_with_tracking(tracking, step, data())


def tracked_in_a_scan(optimizer):
    tracking = optax.chain(optimizer, jsm.track(METRICS))

    @jax.jit
    def run(params, sources):
        step = tracked_step(tracking)
        carry = (params, tracking.init(params))
        return lax.scan(lambda carry, source: (step(*carry, source), None), carry, sources)[0]

    params, opt_state = run(initial_params(), data())
    return params, METRICS.compute(optax.tree.get(opt_state, "metrics"))


def tracked_on_eight_devices(optimizer):
    tracking = optax.chain(jsm.track(METRICS, axis_name="data"), optimizer)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    step = jax.shard_map(
        tracked_step(tracking, reduce=lambda gradients: lax.pmean(gradients, "data")),
        mesh=mesh,
        in_specs=(P(), P(), P("data")),
        out_specs=P(),
        check_vma=False,
    )
    return loop_with_tracking(tracking, jax.jit(step), data())


def micro_batches_with_combined_observations(optimizer):
    @jax.jit
    def step(params, opt_state, state, source):
        micro = source.reshape(MICRO, BATCH // MICRO, INPUT)
        first, *others = (
            jax.grad(loss_and_observation, has_aux=True)(params, source) for source in micro
        )
        gradients, observation = first
        for more, seen in others:
            gradients = jax.tree.map(jnp.add, gradients, more)
            observation = METRICS.combine(observation, seen)
        gradients = jax.tree.map(lambda leaf: leaf / MICRO, gradients)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        state = METRICS.accumulate(state, observation)
        return optax.apply_updates(params, updates), opt_state, state

    return loop_with_state(optimizer, step)


def tracked_before_multi_steps(optimizer):
    every = optax.MultiSteps(optimizer, every_k_schedule=MICRO).gradient_transformation()
    tracking = optax.chain(jsm.track(METRICS), every)
    step = jax.jit(tracked_step(tracking), donate_argnums=(0, 1))
    micro_batches = data().reshape(STEPS * MICRO, BATCH // MICRO, INPUT)
    return loop_with_tracking(tracking, step, micro_batches)


LOOPS = [
    observation_as_aux,
    tracked_in_a_chain,
    tracked_in_a_scan,
    tracked_on_eight_devices,
    micro_batches_with_combined_observations,
    tracked_before_multi_steps,
]


@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)
def test_every_loop_trains_and_measures_the_same(loop):
    wanted_params, wanted = reference(optax.adam(1e-2))
    params, values = loop(optax.adam(1e-2))
    for name, want in wanted.items():
        np.testing.assert_allclose(values[name], want, rtol=1e-5, err_msg=name)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), params, wanted_params)


def test_track_leaves_the_gradients_alone_and_starts_afresh():
    transformation = jsm.track(jsm.L0Norm())
    params = initial_params()
    state = transformation.init(params)
    acts = {"learned_activations": jnp.ones((2, 3))}
    updates, state = transformation.update(params, state, params, **acts)
    assert updates is params
    assert float(jsm.L0Norm().compute(optax.tree.get(state, "metrics"))) == 3
    state = optax.tree.set(state, metrics=jsm.L0Norm().init())
    assert np.isnan(jsm.L0Norm().compute(optax.tree.get(state, "metrics")))


def test_track_leaves_the_arguments_of_other_transformations_to_them():
    """`optax.contrib.reduce_on_plateau` reads `value`."""
    plateau = optax.contrib.reduce_on_plateau(patience=1)
    optimizer = optax.chain(jsm.track(jsm.L0Norm()), optax.sgd(1.0), plateau)
    params = initial_params()
    acts = {"learned_activations": jnp.ones((2, 3))}
    _, state = optimizer.update(params, optimizer.init(params), params, value=2.0, **acts)
    assert float(jsm.L0Norm().compute(optax.tree.get(state, "metrics"))) == 3
    assert float(optax.tree.get(state, "best_value")) == 2


def test_track_says_what_is_missing():
    optimizer = optax.chain(jsm.track(METRICS), optax.sgd(0.1))
    params = initial_params()
    with pytest.raises(TypeError, match=r"source_activations: .* needs this input"):
        optimizer.update(
            params, optimizer.init(params), learned_activations=jnp.ones((2, FEATURES))
        )


def test_track_does_not_pass_over_a_misspelled_mask():
    transformation = jsm.track(jsm.L0Norm())
    params, acts = initial_params(), jnp.ones((2, 3))
    state = transformation.init(params)
    with pytest.raises(TypeError, match=r"msk: unknown input of L0Norm\. Did you mean mask\?"):
        transformation.update(params, state, learned_activations=acts, msk=jnp.ones(2, bool))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_loss_functions_are_differentiable(dtype):
    """Gradients agree with central differences in float64."""
    rng = np.random.default_rng(0)
    shapes = {"source_activations": 4, "learned_activations": 6, "decoded_activations": 4}
    inputs = {name: rng.normal(size=(5, 3, size)) for name, size in shapes.items()}
    inputs = {name: np.asarray(jnp.asarray(v, dtype), np.float64) for name, v in inputs.items()}

    def total(inputs):
        return jnp.sum(jsm.sparse_autoencoder_loss(**inputs, l1_coefficient=0.3))

    gradients = jax.grad(total)({name: jnp.asarray(v, dtype) for name, v in inputs.items()})
    with jax.enable_x64(True):
        for name, values in inputs.items():
            direction = rng.normal(size=values.shape)
            ends = [float(total(inputs | {name: values + h * direction})) for h in (1e-4, -1e-4)]
            slope = (ends[0] - ends[1]) / 2e-4
            got = np.sum(np.asarray(gradients[name], np.float64) * direction)
            np.testing.assert_allclose(got, slope, rtol=2e-2 if dtype == jnp.bfloat16 else 1e-4)


def test_gradients_at_zero_are_finite():
    zeros = {"source_activations": jnp.zeros((2, 4)), "learned_activations": jnp.zeros((2, 6))}
    inputs = zeros | {"decoded_activations": jnp.zeros((2, 4))}
    total = lambda x: jnp.sum(jsm.sparse_autoencoder_loss(**x, l1_coefficient=1.0))  # noqa: E731
    for gradient in jax.grad(total)(inputs).values():
        np.testing.assert_array_equal(gradient, np.zeros_like(gradient))


def test_importing_the_library_does_not_import_optax():
    program = "import sys, jax_sae_metrics; print('optax' in sys.modules)"
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == "False"
