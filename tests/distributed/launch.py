"""Start programs of this folder as JAX processes that know each other, and end them."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

import jax

TESTS = pathlib.Path(__file__).parents[1]
DEVICES = 2  # of each process


@contextlib.contextmanager
def launched(program, num_processes, *arguments, timeout=300):
    """Run `distributed.program` in processes; yield a function that waits for them.

    It returns the exit status and the output of each. A process that takes longer than the timeout,
    in seconds, is killed, and none outlives the block.
    """
    environment = os.environ | {
        "XLA_FLAGS": os.environ["XLA_FLAGS"].replace("_count=8", f"_count={DEVICES}"),
        "PYTHONPATH": os.pathsep.join(map(str, (TESTS.parent, TESTS))),
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
    }
    command = [sys.executable, "-m", f"distributed.{program}", str(free_port()), str(num_processes)]
    deadline = time.monotonic() + timeout
    with contextlib.ExitStack() as stack:

        def start(process_id):
            output = stack.enter_context(tempfile.TemporaryFile("w+"))
            process = subprocess.Popen(
                [*command, str(process_id), *map(str, arguments)],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # with all that it starts, it can be killed
            )
            stack.callback(kill, process)
            return process, output

        started = [start(process_id) for process_id in range(num_processes)]

        def wait():
            for process, _ in started:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(deadline - time.monotonic(), 0))
                kill(process)
            return [(process.returncode, text(output)) for process, output in started]

        yield wait


def kill(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def text(file):
    file.seek(0)
    return file.read()


def free_port():
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]
