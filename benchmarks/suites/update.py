"""`update` of the metrics of learned activations: against one read of them, and against peers."""

import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import jax.numpy as jnp
from jaxtyping import Array

import jax_sae_metrics as jsm

from ..inputs import in_words, relu_codes, training_batch
from ..jitted import jitted
from ..measure import Comparison, Contender, Figure
from ..optional import import_or_skip, skip
from ..ours import L1_COEFFICIENT, four_statistics, training_collection
from ..peers import naive, with_numpy

if TYPE_CHECKING:
    from . import Builder

FLOOR = Figure(
    "update_floor",
    "Update of a metric, against one read of the activations",
    "time, in reads of the activations",
)
PEERS = Figure(
    "update_peers",
    "The same numbers by other means, against this library",
    "time, in updates (forwards: in forwards) of this library",
)
READ = "one read"
OURS, OURS_FORWARD = "training collection, update", "training collection, forward"
DENSITY, DENSITY_FORWARD = "FeatureDensity, update", "FeatureDensity, forward"

_SETS = (
    "training collection: density, fired count, dead features, L0, L1, L2 and total loss. The "
    "peers keep the sums that these follow from: fired per feature, L0, L1, L2, number of vectors."
)


@dataclasses.dataclass(frozen=True)
class Case:
    """Activations to measure on: `[batch, component?, learned_feature]`."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def num_components(self) -> int | None:
        """The size of the component axis."""
        return self.shape[1] if len(self.shape) == 3 else None

    @property
    def sizes(self) -> tuple[int, int | None]:
        """The arguments of metrics that know how many features there are."""
        return self.shape[-1], self.num_components

    @property
    def labels(self) -> dict[str, str]:
        """The name of the case in tables and pictures."""
        shape = in_words(self.shape)
        panel = shape if self.num_components is None else f"{shape} (components)"
        return {"suite": "update", "shape": shape, "dtype": self.dtype} | {
            "panel": panel,
            "series": self.dtype,
        }


def suite(is_quick: bool) -> "Iterator[Builder]":
    """Both comparisons for every shape and dtype."""
    shapes = [(4096, 16384), (1024, 65536), (1024, 12, 4096), (17, 16384)]
    if is_quick:
        shapes = [(64, 256), (32, 3, 128), (17, 256)]
    for shape in shapes:
        for dtype in ("float32", "bfloat16"):
            case = Case(shape, dtype)
            yield partial(_against_floor, case)
            yield partial(against_peers, case)


def _against_floor(case: Case) -> Comparison:
    """Metrics alone and together, and what is usually written for them."""
    codes = {"learned_activations": relu_codes(case.shape, case.dtype)}
    num_components, sizes = case.num_components, case.sizes
    metrics = {
        "FeatureDensity": jsm.FeatureDensity(*sizes),
        "NeuronFiredCount": jsm.NeuronFiredCount(*sizes),
        "NeuronActivity": jsm.NeuronActivity(*sizes),
        "L0Norm": jsm.L0Norm(num_components),
        "L1AbsoluteLoss": jsm.L1AbsoluteLoss(num_components),
        "density + L0 + L1 + mean": four_statistics(*sizes),
    }
    contenders = [
        jitted(READ, read_once, jnp.float32(0), codes),
        *(
            jitted(name, metric.update, metric.init(), codes, against=READ)
            for name, metric in metrics.items()
        ),
    ]
    contenders += _training(case, training_batch(case.shape, case.dtype), READ, READ)
    components = case.shape[1:-1]
    by_hand = {
        "density, naive JAX": (naive.count_fired, jnp.zeros(case.shape[1:], jnp.int32)),
        "L0, naive JAX": (naive.count_nonzero, jnp.zeros(components, jnp.int32)),
        "L1, naive JAX": (naive.sum_absolute, jnp.zeros(components, jnp.float32)),
    }
    contenders += [
        jitted(name, function, state, codes, against=READ)
        for name, (function, state) in by_hand.items()
    ]
    return Comparison(
        title=f"{in_words(case.shape)} {case.dtype}, against one read of the activations",
        contenders=contenders,
        figure=FLOOR,
        notes=("the training collection also reads source and decoded: 2 x 512 values a vector",),
        **case.labels,
    )


def against_peers(case: Case) -> Comparison:
    """The training collection, and density alone, by other means."""
    batch = training_batch(case.shape, case.dtype)
    codes = {"learned_activations": batch["learned_activations"]}
    num_features, num_components = case.sizes
    density = jsm.FeatureDensity(num_features, num_components)
    counts = jnp.zeros(case.shape[1:], jnp.int32)
    contenders = [
        *_training(case, batch, None, OURS),
        jitted(
            "training collection, naive JAX",
            naive.update,
            naive.init(num_features, num_components),
            batch,
            against=OURS,
        ),
        jitted(DENSITY, density.update, density.init(), codes),
        jitted(DENSITY_FORWARD, density.forward, density.init(), codes, returns_value=True),
        jitted("density, naive JAX", naive.count_fired, counts, codes, against=DENSITY),
    ]
    notes = [_SETS]
    for add in (_torch, _clu, _metrax, _numpy):
        more, said = add(case, batch)
        contenders += more
        notes += said
    return Comparison(
        title=f"{in_words(case.shape)} {case.dtype}, against other means to the same numbers",
        contenders=contenders,
        figure=PEERS,
        notes=tuple(notes),
        **case.labels,
    )


def read_once(state: Array, *, learned_activations: Array) -> Array:
    """The least that any metric has to do."""
    return jnp.maximum(state, jnp.max(learned_activations).astype(jnp.float32))


def _training(
    case: Case, batch: dict[str, Array], against: str | None, forward_against: str
) -> list[Contender]:
    collection = training_collection(*case.sizes)
    return [
        jitted(OURS, collection.update, collection.init(), batch, against=against),
        jitted(
            OURS_FORWARD,
            collection.forward,
            collection.init(),
            batch,
            against=forward_against,
            returns_value=True,
        ),
    ]


Peer = tuple[list[Contender], list[str]]


def _torch(case: Case, batch: dict[str, Array]) -> Peer:
    what = "comparison with torchmetrics"
    if import_or_skip("torch", what) is None or import_or_skip("torchmetrics", what) is None:
        return [], []
    from ..peers import with_torch

    collection = with_torch.training_collection(*case.sizes, L1_COEFFICIENT)
    grouped = with_torch.training_collection(*case.sizes, L1_COEFFICIENT, is_grouped=True)
    name = "training collection, torchmetrics"
    codes = {"learned_activations": batch["learned_activations"]}
    contenders = [
        *with_torch.contenders(name, collection, batch, OURS, OURS_FORWARD),
        *with_torch.contenders(f"{name} (grouped)", grouped, batch, OURS, OURS_FORWARD)[:1],
        *with_torch.contenders(
            "density, torchmetrics",
            with_torch.Density(*case.sizes),
            codes,
            DENSITY,
            DENSITY_FORWARD,
        ),
    ]
    notes = [
        f"torchmetrics: all metrics of the training collection, {case.dtype}; grouped: "
        "told which metrics can share a state, as by the torch version's trainer (update alone)"
    ]
    return contenders, notes if contenders else []


def _clu(case: Case, batch: dict[str, Array]) -> Peer:
    if import_or_skip("clu.metrics", "comparison with clu") is None:
        return [], []
    if case.num_components is not None:
        return [], ["clu: not compared. Its Average holds one number, not one per component"]
    from ..peers import with_clu

    return [with_clu.contender(batch, OURS)], [with_clu.NOTE]


def _metrax(case: Case, batch: dict[str, Array]) -> Peer:
    if import_or_skip("metrax", "comparison with metrax") is None:
        return [], []
    if case.num_components is not None:
        return [], ["metrax: not compared. Its Average holds one number, not one per component"]
    from ..peers import with_metrax

    return [with_metrax.contender(batch, OURS)], [with_metrax.NOTE]


def _numpy(case: Case, batch: dict[str, Array]) -> Peer:
    platform = next(iter(batch["learned_activations"].devices())).platform
    if platform != "cpu":
        skip(f"NumPy: it does not run on a {platform}")
        return [], []
    if case.dtype != "float32":
        return [], [f"NumPy: not compared. It has no {case.dtype}"]
    return [with_numpy.contender(batch, OURS)], ["NumPy uses one core for these sums"]
