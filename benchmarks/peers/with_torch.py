"""The torch version's metrics, rebuilt on torchmetrics.

As in the torch version, each is a separate `Metric` that sums in float, and the same metrics update
twice in their `forward` (`full_state_update`).
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import torch
import torchmetrics
from jaxtyping import Array
from torch import Tensor

from ..environment import num_cores
from ..measure import Contender
from ..optional import skip

# Its threads spin for a while before they sleep, and would take cores from the next contender.
_SETTLE_SECONDS = 0.25


def device() -> str | None:
    """Where torch runs beside JAX; None if it cannot run on the same kind of device."""
    platform = jax.default_backend()
    if platform == "cpu":
        return "cpu"
    if platform == "gpu" and torch.cuda.is_available():
        return "cuda"
    skip(f"torchmetrics: torch has no {platform} device here")
    return None


def contenders(
    name: str,
    metric: torchmetrics.Metric | torchmetrics.MetricCollection,
    batch: Mapping[str, Array],
    against_update: str,
    against_forward: str,
) -> list[Contender]:
    """`update` and `forward` of a metric on the given batch."""
    where = device()
    if where is None:
        return []
    torch.set_num_threads(num_cores())
    inputs = {key: _as_tensor(value, where) for key, value in batch.items()}
    wait = torch.cuda.synchronize if where == "cuda" else _nothing
    settle = _SETTLE_SECONDS if where == "cpu" else 0.0
    # One metric each: both keep a state.
    updated, called = metric.clone().to(where), metric.clone().to(where)
    return [
        Contender(
            f"{name} update",
            run=torch.no_grad()(lambda: updated.update(**inputs)),
            wait=wait,
            against=against_update,
            settle_seconds=settle,
        ),
        Contender(
            f"{name} forward",
            run=torch.no_grad()(lambda: called(**inputs)),
            wait=wait,
            against=against_forward,
            settle_seconds=settle,
        ),
    ]


def training_collection(
    num_learned_features: int,
    num_components: int | None,
    l1_coefficient: float,
    *,
    is_grouped: bool = False,
) -> torchmetrics.MetricCollection:
    """The metrics that the torch version trains with, and its density and fired count.

    torchmetrics finds by itself which metrics have equal states, and updates one of them for all.
    With `is_grouped`, it is also told of metrics whose states are a part of another's, as by the
    torch version's trainer.
    """
    groups = [["loss", "l1", "l2"], ["density", "fired_count", "dead"], ["l0"]]
    features = (num_learned_features, num_components)
    return torchmetrics.MetricCollection(
        {
            "loss": TotalLoss(num_components, l1_coefficient),
            "l1": AbsoluteLoss(num_components),
            "l2": ReconstructionLoss(num_components),
            "density": Density(*features),
            "fired_count": FiredCount(*features),
            "dead": NumDead(*features),
            "l0": NumNonzero(num_components),
        },
        compute_groups=groups if is_grouped else True,
    )


def state_bytes(metric: torchmetrics.Metric) -> int:
    """The size of a metric's state."""
    states = (getattr(metric, name) for name in metric._defaults)
    return sum(state.numel() * state.element_size() for state in states)


class FiredCount(torchmetrics.Metric):
    """How often each feature fired, in float."""

    full_state_update = True

    def __init__(self, num_learned_features: int, num_components: int | None = None) -> None:
        super().__init__()
        shape = (*_components(num_components), num_learned_features)
        self.add_state("fired", torch.zeros(shape), dist_reduce_fx="sum")

    def update(self, learned_activations: Tensor, **_: Any) -> None:
        """Count."""
        self.fired += (learned_activations > 0).sum(0, dtype=torch.float)

    def compute(self) -> Tensor:
        """The counts."""
        return self.fired.to(torch.int64)


class Density(FiredCount):
    """In which portion of the vectors each feature fired."""

    def __init__(self, num_learned_features: int, num_components: int | None = None) -> None:
        super().__init__(num_learned_features, num_components)
        self.add_state("num_vectors", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, learned_activations: Tensor, **_: Any) -> None:
        """Count."""
        super().update(learned_activations)
        self.num_vectors += learned_activations.shape[0]

    def compute(self) -> Tensor:
        """The portions."""
        return self.fired / self.num_vectors


class NumDead(Density):
    """How many features never fired."""

    def compute(self) -> Tensor:
        """Their number."""
        return (self.fired <= 0).sum(-1)


class _VectorSums(torchmetrics.Metric):
    """Sums over vectors, by name, and the number of vectors."""

    full_state_update = False
    names: tuple[str, ...] = ()

    def __init__(self, num_components: int | None = None) -> None:
        super().__init__()
        for name in self.names:
            zeros = torch.zeros(_components(num_components))
            self.add_state(name, zeros, dist_reduce_fx="sum")
        self.add_state("num_vectors", torch.tensor(0), dist_reduce_fx="sum")

    def _mean(self, name: str) -> Tensor:
        return getattr(self, name) / self.num_vectors


class NumNonzero(_VectorSums):
    """L0."""

    names = ("l0",)

    def update(self, learned_activations: Tensor, **_: Any) -> None:
        """Count."""
        self.l0 += torch.count_nonzero(learned_activations, dim=-1).sum(0)
        self.num_vectors += learned_activations.shape[0]

    def compute(self) -> Tensor:
        """Mean over vectors."""
        return self._mean("l0")


class AbsoluteLoss(_VectorSums):
    """L1."""

    names = ("l1",)

    def update(self, learned_activations: Tensor, **_: Any) -> None:
        """Sum."""
        self.l1 += learned_activations.abs().sum(-1).sum(0)
        self.num_vectors += learned_activations.shape[0]

    def compute(self) -> Tensor:
        """Mean over vectors."""
        return self._mean("l1")


class ReconstructionLoss(_VectorSums):
    """L2."""

    names = ("l2",)

    def update(self, source_activations: Tensor, decoded_activations: Tensor, **_: Any) -> None:
        """Sum."""
        self.l2 += (decoded_activations - source_activations).square().mean(-1).sum(0)
        self.num_vectors += source_activations.shape[0]

    def compute(self) -> Tensor:
        """Mean over vectors."""
        return self._mean("l2")


class TotalLoss(_VectorSums):
    """L2 and a portion of L1."""

    names = ("l1", "l2")

    def __init__(self, num_components: int | None, l1_coefficient: float) -> None:
        super().__init__(num_components)
        self.l1_coefficient = l1_coefficient

    def update(
        self,
        learned_activations: Tensor,
        source_activations: Tensor,
        decoded_activations: Tensor,
    ) -> None:
        """Sum both."""
        self.l1 += learned_activations.abs().sum(-1).sum(0)
        self.l2 += (decoded_activations - source_activations).square().mean(-1).sum(0)
        self.num_vectors += learned_activations.shape[0]

    def compute(self) -> Tensor:
        """Mean over vectors."""
        return self._mean("l2") + self.l1_coefficient * self._mean("l1")


def _components(num_components: int | None) -> tuple[int, ...]:
    return () if num_components is None else (num_components,)


def _as_tensor(array: Array, where: str) -> Tensor:
    """A copy in torch, which takes no bf16 from NumPy."""
    dtype = getattr(torch, str(array.dtype))
    return torch.from_numpy(np.array(array, np.float32)).to(device=where, dtype=dtype)


def _nothing() -> None:
    """Calls of torch on the CPU return when they are done."""
