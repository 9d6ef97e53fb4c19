"""The machine and versions of a run: figures mean nothing without them."""

import datetime
import importlib.metadata
import os
import platform
import re
from pathlib import Path
from typing import Any

import jax

_PACKAGES = (
    "jax-sae-metrics",
    "jax",
    "jaxlib",
    "numpy",
    "equinox",
    "optax",
    "torch",
    "torchmetrics",
    "clu",
    "google-metrax",
    "flax",
)


def environment() -> dict[str, Any]:
    """Devices, processor and versions."""
    devices = jax.devices()
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "platform": devices[0].platform,
        "device": devices[0].device_kind,
        "num_devices": len(devices),
        "processor": _processor(),
        "num_cores": num_cores(),
        # What else ran: above the number of cores, small differences cannot be told.
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {package: _version(package) for package in _PACKAGES},
    }


def device_name(environment: dict[str, Any]) -> str:
    """The device in a few words, for people."""
    if environment["platform"] == "cpu":
        return f"{environment['processor']}, {environment['num_cores']} cores"
    return f"{environment['num_devices']} x {environment['device']}"


def file_name(environment: dict[str, Any]) -> str:
    """The device as the name of a folder."""
    name = environment["device"]
    if environment["platform"] == "cpu":
        name = f"cpu {environment['processor']} {environment['num_cores']} cores"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def num_cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
