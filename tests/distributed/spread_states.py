"""What a process can read of a state whose features are spread over processes."""

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec as P

import jax_sae_metrics as jsm
from distributed.cases import COLLECTIONS, draw, mesh_of, sharded_jit
from subjects import COMPONENTS

DENSITY = COLLECTIONS["evaluation"]["feature_density"]
METRICS = jsm.MetricCollection({"l0": jsm.L0Norm(COMPONENTS), "feature_density": DENSITY})
# What reads arrays of which other processes hold parts.
READERS = {
    "state_dict": lambda state: DENSITY.state_dict(state["feature_density"]),
    "histograms": lambda state: jsm.histograms(METRICS, state),
    "to_numpy": lambda state: state["feature_density"].num_fired.to_numpy(),
}


def check(devices):
    """Raise unless numbers are right, and arrays are refused in words that help."""
    batch = {"learned_activations": draw(0)["learned_activations"]}
    alone = METRICS.update(METRICS.init(), **batch)
    state = sharded_jit(METRICS, [batch], devices.T)
    numbers, wanted = (jsm.scalars(METRICS, given, errors=True) for given in (state, alone))
    np.testing.assert_allclose([*numbers.values()], [*wanted.values()], rtol=1e-6)
    for read in READERS.values():
        with pytest.raises(RuntimeError, match=r"all processes: state = jax\.device_put\(state, "):
            read(state)
    whole = jax.device_put(state, NamedSharding(mesh_of(devices.T), P()))
    for name, read in READERS.items():
        for a, b in zip(*map(jax.tree.leaves, (read(whole), read(alone))), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)
