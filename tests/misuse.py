"""Shared by tests of errors: metrics to misuse, inputs to trace, and what a message says."""

import jax
import jax.numpy as jnp
import pytest
from jax import ShapeDtypeStruct

import jax_sae_metrics as jsm

FEATURES, COMPONENTS = 8, 3

density = jsm.FeatureDensity(FEATURES)
component_density = jsm.FeatureDensity(FEATURES, COMPONENTS)
score = jsm.ReconstructionScore(COMPONENTS)
collection = jsm.MetricCollection({"density": density, "l2": jsm.L2ReconstructionLoss()})


def floats(*shape, dtype=jnp.float32):
    return ShapeDtypeStruct(shape, dtype)


def learned(*shape, dtype=jnp.float32):
    return {"learned_activations": floats(*shape, dtype=dtype)}


def reconstruction(source, decoded):
    return {"source_activations": floats(*source), "decoded_activations": floats(*decoded)}


def losses(*shape, **others):
    names = ("", "_with_reconstruction", "_with_zero_ablation")
    return {f"source_model_loss{name}": floats(*shape) for name in names} | others


def trace(function, *args, **kwargs):
    """Call under tracing only: nothing is compiled or run."""
    static = {k: v for k, v in kwargs.items() if not isinstance(v, ShapeDtypeStruct)}
    traced = {k: v for k, v in kwargs.items() if isinstance(v, ShapeDtypeStruct)}
    return jax.eval_shape(lambda args, traced: function(*args, **traced, **static), args, traced)


def assert_says(error, call, says):
    with pytest.raises(error) as raised:
        call()
    message = str(raised.value)
    assert all(part in message for part in says), f"{says} not all in: {message}"
