"""A process that dies ends the run of all, and a new run goes on from the last checkpoint."""

import signal
import time

import jax
import numpy as np
import pytest

from distributed.cases import sharded_jit
from distributed.launch import DEVICES, launched
from distributed.same import assert_same
from distributed.training import HEARTBEAT_SECONDS, METRICS, STEPS, batch_of, load

DIES_AT, NEVER = 3, -1


@pytest.mark.exhaustive
def test_a_run_goes_on_after_a_process_was_killed(tmp_path):
    checkpoint = tmp_path / "checkpoint.npz"
    with launched("training", 2, checkpoint, DIES_AT) as wait:
        (status, output), (of_killed, last_words) = wait()
        seconds = time.time() - float(last_words.splitlines()[-1])
    assert of_killed == -signal.SIGKILL
    # It ended by itself, and said why.
    assert status not in (0, -signal.SIGKILL)
    assert "heartbeat timeout" in output
    assert seconds < 12 * HEARTBEAT_SECONDS  # on a busy machine too
    _, next_step = load(checkpoint)
    assert 0 < next_step < STEPS

    with launched("training", 2, checkpoint, NEVER) as wait:
        ended = wait()
    assert [status for status, _ in ended] == [0, 0], ended
    assert all(f"starts at step {next_step}\n" in output for _, output in ended)
    state, _ = load(checkpoint)
    devices = np.array(jax.devices()[: 2 * DEVICES]).reshape(2, DEVICES)
    assert_same(state, sharded_jit(METRICS, map(batch_of, range(STEPS)), devices.T))
