"""A run that saves a checkpoint after every step, and in which a process may die."""

import os
import pathlib
import signal
import sys
import time

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P

import jax_sae_metrics as jsm
from distributed.cases import SIZES, draw, mesh_of, place
from distributed.joined import join

STEPS = 6
HEARTBEAT_SECONDS = 5
METRICS = jsm.training_metrics(*SIZES)


def batch_of(step):
    return {name: values for name, values in draw(step).items() if name != "example_ids"}


def main(port, num_processes, process_id, path, dies_at):
    join(port, num_processes, process_id, HEARTBEAT_SECONDS)
    # Features are spread over processes, and batches over the devices of each.
    mesh = mesh_of(np.array(jax.devices()).reshape(int(num_processes), -1).T)
    state, first = load(path)
    print(f"starts at step {first}", flush=True)
    specs = METRICS.partition_specs(P(None, "model"))
    shardings = jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs)
    state = jax.device_put(state, shardings)
    update = jax.jit(METRICS.update, donate_argnums=0)
    for step in range(first, STEPS):
        if (step, process_id) == (int(dies_at), "1"):
            print(time.time(), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        state = update(state, **place(mesh, batch_of(step)))
        whole = jax.block_until_ready(jax.device_put(state, NamedSharding(mesh, P())))
        if process_id == "0":
            save(path, METRICS.state_dict(whole), step + 1)


def load(path):
    """The state, and the number of the step that is next."""
    if not pathlib.Path(path).exists():
        return METRICS.init(), 0
    with np.load(path, allow_pickle=True) as saved:
        arrays = {**saved}
    next_step = int(arrays.pop("next_step"))
    return METRICS.from_state_dict(arrays), next_step


def save(path, state_dict, next_step):
    """In one move: a process that dies while it writes leaves the last checkpoint as it was."""
    written = pathlib.Path(path).with_suffix(".new.npz")
    np.savez(written, **state_dict, next_step=next_step)
    written.rename(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
