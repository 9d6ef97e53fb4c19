"""Several processes together count what one process counts over as many devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distributed.cases import Case
from distributed.launch import DEVICES, launched
from jax_sae_metrics import RatioOfSums
from selection import all_of
from subjects import accumulators

FEW = [
    Case("sharded jit", "flat", "padded", "training"),
    Case("axis_name", "top k", "padded", "evaluation"),
    Case("all_reduce", "dense", "padded", "training"),
    Case("features spread, explicit mesh", "dense", "whole", "evaluation"),
]
MORE = [
    Case("sharded jit", "dense", "whole", "training"),
    Case("explicit mesh", "top k", "padded", "evaluation"),
    Case("axis_name", "flat", "padded", "training"),
    Case("all_reduce", "flat", "whole", "evaluation"),
    Case("features spread", "dense", "padded", "training"),
    Case("features spread", "flat", "padded", "evaluation"),
]
LAUNCHES = {"2 processes": (2, FEW), "4 processes": (4, FEW + MORE)}


@pytest.mark.parametrize("name", all_of(LAUNCHES, by_default=["2 processes"]))
def test_processes_together_count_as_one(name, tmp_path):
    num_processes, cases = LAUNCHES[name]
    devices = np.array(jax.devices()[: num_processes * DEVICES]).reshape(num_processes, DEVICES)
    with launched("worker", num_processes, tmp_path, *map(str, cases)) as wait:
        wanted = [case.run(devices) for case in cases]
        ended = wait()
    assert [status for status, _ in ended] == [0] * num_processes, "\n".join(o for _, o in ended)
    mismatches = []
    for number, (case, want) in enumerate(zip(cases, wanted, strict=True)):
        for process_id in range(num_processes):
            with np.load(tmp_path / f"{number}-{process_id}.npz", allow_pickle=True) as saved:
                state = case.metric().from_state_dict({**saved})
            try:
                assert_same(state, want)
            except AssertionError as error:
                mismatches.append(f"{case}, process {process_id}: {error}")
    assert not mismatches, "\n\n".join(mismatches)


def assert_same(state, wanted):
    """Integers are the same; floats differ by the order of one batch's float32 sum."""
    both = map(accumulators, jax.tree.map(jnp.asarray, jax.device_get((state, wanted))))
    for given, want in zip(*both, strict=True):
        of_leaves = [*zip(*map(jax.tree.leaves, (given, want)), strict=True)]
        integers = [pair for pair in of_leaves if not np.issubdtype(pair[1].dtype, np.floating)]
        for a, b in integers:
            np.testing.assert_array_equal(a, b, err_msg=repr(want))
        # As values: what one half of a pair lacks, the other has.
        values = [x.to_numpy() if hasattr(x, "to_numpy") else x for x in (given, want)]
        for a, b in zip(*map(jax.tree.leaves, values), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-7, err_msg=repr(want))
        if isinstance(want, RatioOfSums):
            # Covariances are of differences, which have fewer digits. They cancel to any size.
            variances = np.diagonal(covariance(want))
            scale = np.sqrt(np.multiply.outer(variances, variances))
            a, b = (covariance(x) / scale for x in (given, want))
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-6, err_msg=repr(want))


covariance = jax.jit(RatioOfSums.covariance)
