"""What a reader should know about a run."""

import datetime
import platform
import shlex
import sys
from typing import Any

import jax
import numpy as np

import jax_sae_metrics as jsm

_COUNTS = ("batches", "texts", "tokens")


class Seen:
    """How much was measured, with what an earlier evaluation measured."""

    def __init__(self, before: Any = None) -> None:
        about = getattr(before, "about", {})
        self._counts = {name: int(about.get(name, "0").replace(",", "")) for name in _COUNTS}
        # A bare state does not say how much it is of.
        self._is_all = before is None or all(name in about for name in _COUNTS)

    def add(self, mask: np.ndarray) -> None:
        """Count a batch, without what is masked out."""
        for name, count in zip(_COUNTS, (1, mask.any(1).sum(), mask.sum()), strict=True):
            self._counts[name] += int(count)

    def about(self) -> dict[str, str]:
        """The counts as texts."""
        when = "" if self._is_all else " since it was resumed"
        return {f"{name}{when}": f"{count:,}" for name, count in self._counts.items()}


def about_this_run() -> dict[str, str]:
    """Versions, devices, and the command that was run."""
    devices = jax.devices()
    return {
        "date": datetime.date.today().isoformat(),
        "jax_sae_metrics": jsm.__version__,
        "JAX": jax.__version__,
        "Python": platform.python_version(),
        "devices": f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})",
        "command": shlex.join(sys.argv),
    }
