"""Save a state of every metric, and its value, for tests of later releases.

    python tests/data/save_states.py 0.2

Files of releases are kept: states that were saved once can be loaded ever after.
"""

import pathlib
import sys

import jax
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from jax_sae_metrics._core.flatten import flatten
from subjects import ALL


def main() -> None:
    """Write `states_RELEASE.npz`."""
    arrays = {}
    for parameter in ALL:
        (subject,) = parameter.values
        metric = subject.build()
        state = jax.jit(metric.update)(metric.init(), **subject.inputs())
        arrays |= flatten({parameter.id: {"saved": metric.state_dict(state)}})
        arrays |= flatten({parameter.id: {"value": metric.compute(state)}})
    np.savez_compressed(pathlib.Path(__file__).with_name(f"states_{sys.argv[1]}.npz"), **arrays)


if __name__ == "__main__":
    main()
