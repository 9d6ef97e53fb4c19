"""Accelerators to compile for on a machine that has none."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

# What libtpu would otherwise ask the machine, and leave for several processes to compile.
_TPU_ENVIRONMENT = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-16",
    "TPU_WORKER_HOSTNAMES": "localhost",
}


class NotInstalledError(Exception):
    """The compiler plugin of a target is missing."""


TPU_V5E, TPU_V6E, TPU_7X, H100, B200 = "TPU v5e", "TPU v6e", "TPU7x", "H100", "B200"
# The smallest slice of TPUs with this number of chips.
_TPU_SLICES = {
    TPU_V5E: {1: "v5e:2x2", 16: "v5e:4x4", 256: "v5e:16x16"},
    TPU_V6E: {1: "v6e:2x2", 16: "v6e:4x4", 256: "v6e:16x16"},
    TPU_7X: {1: "tpu7x:2x2x1", 16: "tpu7x:2x2x2"},
}
# GPUs of one host. The limits of a B200 are those that openxla/xla lists for it
# (xla/backends/gpu/target_config/specs/b200.txtpb).
_GPU_CONFIGS = {H100: "h100_target_config.txt", B200: "b200_target_config.txt"}


@dataclasses.dataclass(frozen=True)
class Target:
    """Some chips of one kind."""

    kind: str
    num_chips: int

    def __str__(self) -> str:
        return f"{self.num_chips} x {self.kind}"

    def mesh(self, **axes: int) -> Mesh:
        """The chips as a mesh with axes of the given names and sizes.

        Raises `NotInstalledError` where the plugin that compiles for them is not installed.
        """
        devices = np.array(self._devices()[: self.num_chips]).reshape(tuple(axes.values()))
        return Mesh(devices, tuple(axes), axis_types=(AxisType.Auto,) * len(axes))

    def _devices(self) -> Sequence[Any]:
        is_tpu = self.kind in _TPU_SLICES
        try:
            if not is_tpu:
                config = Path(__file__).with_name(_GPU_CONFIGS[self.kind]).read_text()
                return topologies.get_topology_desc(
                    platform="cuda", topology="1x1x8", target_config=config
                ).devices
            for name, value in _TPU_ENVIRONMENT.items():
                os.environ.setdefault(name, value)
            return topologies.get_topology_desc(
                platform="tpu", topology_name=_TPU_SLICES[self.kind][self.num_chips]
            ).devices
        except (ImportError, RuntimeError, NotImplementedError) as error:
            package = "libtpu" if is_tpu else "jax-cuda13-plugin and jax-cuda13-pjrt"
            raise NotInstalledError(f"{self.kind}: to compile for it, install {package}") from error


def compile_for(function: Any, mesh: Mesh, arguments: Any, specs: Any, **jit_options: Any) -> Any:
    """Compile `function(*arguments)`, arguments being placed as `specs` (a prefix) say."""
    shardings = jax.tree.map(
        lambda spec: NamedSharding(mesh, spec),
        specs,
        is_leaf=lambda node: isinstance(node, PartitionSpec),
    )
    return jax.jit(function, in_shardings=shardings, **jit_options).lower(*arguments).compile()
