"""Sums over millions of items of one batch do not drift: they are right to 1e-6."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

import jax_sae_metrics as jsm
from jax_sae_metrics._reductions import Reduction, Vectors
from selection import all_of
from test_forms import every_form

# The second makes a prime number of blocks on CPU: none of them can be taken together.
NUM_ITEMS = [2**20, 8209 * 2**7, 2**22]
# Rounding goes the same way for all items of a constant, so that a running sum drifts most.
CONSTANTS = np.float32([0.1, 0.3, 0.7, np.pi])
every_dtype = pytest.mark.parametrize(
    "dtype", all_of([jnp.float32, jnp.bfloat16], by_default=[jnp.float32])
)
masks = pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])


def constants(num_items, dtype):
    """Items `[item, feature]`, all the same; and one of them in float64."""
    one = jnp.asarray(CONSTANTS).astype(dtype)
    return jnp.tile(one, (num_items, 1)), np.asarray(one, np.float64)


def mask_of(num_items, masked):
    """A mask and the number of items that it keeps: two of three."""
    if not masked:
        return None, num_items
    mask = np.arange(num_items) % 3 > 0
    return jnp.asarray(mask), mask.sum()


@pytest.mark.parametrize("num_items", all_of([*NUM_ITEMS, 2**24], by_default=[2**20]))
@masks
@every_dtype
@every_form
def test_sums_of_every_form(form, dtype, masked, num_items):
    x, one = constants(num_items, dtype)
    mask, num_kept = mask_of(num_items, masked)
    functions = [lambda x: x, lambda x: x * x]
    reductions = tuple(Reduction("sum_per_feature", function) for function in functions)

    def reduce(x, mask):
        both = form(reductions, Vectors((x,), mask), 1)
        # A sum that is alone is compiled differently.
        return both + form(reductions[:1], Vectors((x,), mask), 1)

    wanted = [num_kept * one, num_kept * one**2, num_kept * one]
    for got, want in zip(jax.jit(reduce)(x, mask), wanted, strict=True):
        np.testing.assert_allclose(np.float64(got), want, rtol=1e-6)


METRICS = jsm.MetricCollection(
    {
        "statistics": jsm.ActivationStatistics(len(CONSTANTS)),
        "l1": jsm.L1AbsoluteLoss(),
        "l2": jsm.L2ReconstructionLoss(),
        "norms": jsm.L2Norm(),
        "unexplained": jsm.FractionVarianceUnexplained(len(CONSTANTS)),
        "loss": jsm.LossIncrease(),
    }
)


def inputs_of(num_items, dtype):
    x, _ = constants(num_items, dtype)
    # Half of the source vectors are 0, so that there is a variance.
    source = x * (jnp.arange(num_items) % 2).astype(dtype)[:, None]
    return {
        "learned_activations": x,
        "source_activations": source,
        "decoded_activations": jnp.zeros_like(source),
        "source_model_loss": x[:, 0],
        "source_model_loss_with_reconstruction": x[:, 1],
    }


def wanted(num_items, masked, dtype):
    one = np.asarray(jnp.asarray(CONSTANTS).astype(dtype), np.float64)
    mask, num_kept = mask_of(num_items, masked)
    mask = np.ones(num_items, bool) if mask is None else np.asarray(mask)
    share = np.sum(mask & (np.arange(num_items) % 2 == 1)) / num_kept
    return {
        "statistics/mean_when_active": one,
        "statistics/second_moment": one**2,
        "l1": one.sum(),
        "l2": share * (one**2).mean(),
        "norms/source": share * np.sqrt((one**2).sum()),
        "unexplained": 1 / (1 - share),
        "loss": one[1] - one[0],
    }


def in_one_program(inputs):
    return jax.jit(METRICS.update)(METRICS.init(), **inputs)


def sharded(inputs, axis_type):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(axis_type,))
    inputs = jax.device_put(inputs, NamedSharding(mesh, P("data")))
    with jax.set_mesh(mesh):
        return jax.jit(METRICS.update)(METRICS.init(sharding=NamedSharding(mesh, P())), **inputs)


def under_shard_map(inputs):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    update = lambda state, inputs: METRICS.update(state, axis_name="data", **inputs)  # noqa: E731
    step = jax.shard_map(update, mesh=mesh, in_specs=(P(), P("data")), out_specs=P())
    return jax.jit(step)(METRICS.init(), inputs)


WAYS = {
    "one device": in_one_program,
    "sharded": functools.partial(sharded, axis_type=AxisType.Auto),
    "explicit mesh": functools.partial(sharded, axis_type=AxisType.Explicit),
    "shard_map": under_shard_map,
}


# XLA:CPU takes time quadratic in the number of items where it adds up along a sharded mask.
WAYS_AND_MASKS = [
    (way, masked) for way in WAYS for masked in (False, True) if (way, masked) != ("sharded", True)
]


@pytest.mark.parametrize(
    ("dtype", "num_items"),
    all_of(
        [(jnp.bfloat16, 2**20), *((jnp.float32, num_items) for num_items in NUM_ITEMS)],
        by_default=[(jnp.float32, 2**20)],
    ),
)
@pytest.mark.parametrize(
    ("way", "masked"),
    all_of(WAYS_AND_MASKS, by_default=[("sharded", False)]),
)
def test_metrics(way, masked, dtype, num_items):
    mask, _ = mask_of(num_items, masked)
    inputs = inputs_of(num_items, dtype) | ({} if mask is None else {"mask": mask})
    values = jax.jit(METRICS.compute)(WAYS[way](inputs))
    for name, want in wanted(num_items, masked, dtype).items():
        np.testing.assert_allclose(np.float64(values[name]), want, rtol=1e-6, err_msg=name)


# With more features than entries, only those that are given are added to.
@pytest.mark.parametrize("num_features", [4, 2**19])
def test_sums_of_few_activations(num_features):
    num_items = 2**18
    feature = np.arange(num_items)[:, None] % len(CONSTANTS)
    learned = jsm.TopKActivations(jnp.asarray(CONSTANTS[feature]), feature, num_features)
    metrics = jsm.MetricCollection(
        {"l1": jsm.L1AbsoluteLoss(), "statistics": jsm.ActivationStatistics(num_features)}
    )
    state = jax.jit(metrics.update)(metrics.init(), learned_activations=learned)
    values, one = jax.jit(metrics.compute)(state), np.float64(CONSTANTS)
    wanted = {
        "l1": one.mean(),
        "statistics/mean_when_active": one,
        "statistics/second_moment": one**2 / len(one),
    }
    for name, want in wanted.items():
        got = np.float64(np.ravel(values[name])[: np.size(want)])
        np.testing.assert_allclose(got, want, rtol=1e-6, err_msg=name)
