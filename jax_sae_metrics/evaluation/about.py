"""What a reader should know about a run."""

import platform
import shlex
import sys

import jax

import jax_sae_metrics as jsm


def about_this_run() -> dict[str, str]:
    """Versions, devices, and the command that was run."""
    devices = jax.devices()
    return {
        "jax_sae_metrics": jsm.__version__,
        "JAX": jax.__version__,
        "Python": platform.python_version(),
        "devices": f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})",
        "command": shlex.join(sys.argv),
    }
