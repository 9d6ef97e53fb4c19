"""Run cases over the devices of all processes, and save the states that this process sees."""

import pathlib
import sys

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P

from distributed import spread_states
from distributed.cases import Case, mesh_of
from distributed.joined import join


def main(port, num_processes, process_id, folder, *cases):
    join(port, num_processes, process_id)
    devices = np.array(jax.devices()).reshape(int(num_processes), -1)
    for number, case in enumerate(map(Case.named, cases)):
        print(case, flush=True)
        state = jax.device_put(case.run(devices), NamedSharding(mesh_of(devices), P()))
        path = pathlib.Path(folder) / f"{number}-{process_id}.npz"
        np.savez(path, **case.metric().state_dict(state))
    spread_states.check(devices)


if __name__ == "__main__":
    main(*sys.argv[1:])
