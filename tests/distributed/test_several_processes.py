"""Several processes together count what one process counts over as many devices."""

import jax
import numpy as np
import pytest

from distributed.cases import COLLECTIONS, Case
from distributed.launch import DEVICES, launched
from distributed.same import assert_same
from metric_cases import DEFAULT_CASES
from subjects import COMPONENTS, accumulators

FEW = [
    Case("sharded jit", "flat", "padded", "training"),
    Case("axis_name", "top k", "padded", "evaluation"),
    Case("all_reduce", "dense", "padded", "training"),
    Case("features spread, explicit mesh", "dense", "whole", "evaluation"),
]
MORE = [
    Case("explicit mesh", "dense", "padded", "evaluation"),
    Case("axis_name", "flat", "padded", "training"),
    Case("all_reduce", "top k", "whole", "evaluation"),
    Case("features spread", "flat", "padded", "training"),
]
LAUNCHES = {"some cases": (2, FEW), "more cases": (2, MORE)}


def test_accumulators_of_every_kind_take_part():
    def kinds(metrics):
        return {type(a) for metric in metrics for a in accumulators(metric.init())}

    all_metrics = [case.build(COMPONENTS) for case in DEFAULT_CASES]
    assert kinds(COLLECTIONS["training"].values()) == kinds(all_metrics)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", LAUNCHES)
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
