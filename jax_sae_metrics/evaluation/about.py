"""What a reader should know about a run."""

import dataclasses
import datetime
import platform
import shlex
import sys

import jax
import numpy as np

import jax_sae_metrics as jsm


@dataclasses.dataclass
class Seen:
    """How much was measured."""

    batches: int = 0
    texts: int = 0
    tokens: int = 0

    def add(self, mask: np.ndarray) -> None:
        """Count a batch, without what is masked out."""
        self.batches += 1
        self.texts += int(mask.any(1).sum())
        self.tokens += int(mask.sum())

    def about(self) -> dict[str, str]:
        """The counts as texts."""
        return {name: f"{count:,}" for name, count in dataclasses.asdict(self).items()}


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
