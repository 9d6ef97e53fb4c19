"""Every public metric with inputs and an independent float64 oracle.

An oracle sees the unmasked vectors (or losses) of one component, `[N, ...]` in float64, and says
what the metric should be. It knows of no batches, masks, components or devices.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

import jax_sae_metrics as jsm

NUM_LEARNED_FEATURES = 8
NUM_INPUT_FEATURES = 4
CAPACITY = 600

LEARNED = ("learned_activations",)
RECONSTRUCTION = ("source_activations", "decoded_activations")
LOSSES = (
    "source_model_loss",
    "source_model_loss_with_reconstruction",
    "source_model_loss_with_zero_ablation",
)
SIZES = {
    "learned_activations": (NUM_LEARNED_FEATURES,),
    "source_activations": (NUM_INPUT_FEATURES,),
    "decoded_activations": (NUM_INPUT_FEATURES,),
} | dict.fromkeys(LOSSES, ())

Oracle = Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class MetricCase:
    """A metric under test."""

    name: str
    build: Callable[[int | None], jsm.AbstractMetric]
    inputs: tuple[str, ...]
    oracle: Oracle
    of_nothing: float
    needs_components: bool = False
    ordered: bool = True


def density(learned_activations):
    return (learned_activations > 0).mean(0)


def squared_error(source_activations, decoded_activations):
    return ((source_activations - decoded_activations) ** 2).mean(-1)


def capacity(learned_activations):
    dots = learned_activations @ learned_activations.T
    with np.errstate(invalid="ignore"):  # a zero vector has none
        own = np.diag(dots) ** 2 / (dots**2).sum(1)
    return np.concatenate([own, np.full(CAPACITY - len(own), np.nan)])


def ratio_of_sums(clean, reconstructed, ablated):
    return (ablated.sum() - reconstructed.sum()) / (ablated.sum() - clean.sum())


def sae_loss(source_activations, decoded_activations, learned_activations):
    l2 = squared_error(source_activations, decoded_activations)
    return (l2 + 0.03 * np.abs(learned_activations).sum(-1)).mean()


LEAF_CASES = [
    MetricCase(
        "FeatureDensity",
        lambda c: jsm.FeatureDensity(NUM_LEARNED_FEATURES, c),
        LEARNED,
        density,
        np.nan,
    ),
    MetricCase(
        "FeatureDensity threshold",
        lambda c: jsm.FeatureDensity(NUM_LEARNED_FEATURES, c, threshold=0.5),
        LEARNED,
        lambda f: (f > 0.5).mean(0),
        np.nan,
    ),
    MetricCase(
        "NeuronFiredCount",
        lambda c: jsm.NeuronFiredCount(NUM_LEARNED_FEATURES, c),
        LEARNED,
        lambda f: (f > 0).sum(0),
        0,
    ),
    MetricCase(
        "NeuronActivity",
        lambda c: jsm.NeuronActivity(NUM_LEARNED_FEATURES, c, threshold_is_dead_portion_fires=0.4),
        LEARNED,
        lambda f: (density(f) <= 0.4).sum(),
        0,
    ),
    MetricCase("L0Norm", jsm.L0Norm, LEARNED, lambda f: (f != 0).sum(-1).mean(), np.nan),
    MetricCase(
        "Capacity",
        lambda c: jsm.Capacity(CAPACITY, NUM_LEARNED_FEATURES, c),
        LEARNED,
        capacity,
        np.nan,
        ordered=False,
    ),
    MetricCase(
        "L1AbsoluteLoss", jsm.L1AbsoluteLoss, LEARNED, lambda f: np.abs(f).sum(-1).mean(), np.nan
    ),
    MetricCase(
        "L2ReconstructionLoss",
        jsm.L2ReconstructionLoss,
        RECONSTRUCTION,
        lambda x, y: squared_error(x, y).mean(),
        np.nan,
    ),
    MetricCase(
        "L2ReconstructionLoss sum",
        lambda c: jsm.L2ReconstructionLoss(c, reduction="sum"),
        RECONSTRUCTION,
        lambda x, y: ((x - y) ** 2).sum(-1).mean(),
        np.nan,
    ),
    MetricCase(
        "SparseAutoencoderLoss",
        lambda c: jsm.SparseAutoencoderLoss(0.03, c),
        (*RECONSTRUCTION, *LEARNED),
        sae_loss,
        np.nan,
    ),
    MetricCase("ReconstructionScore", jsm.ReconstructionScore, LOSSES, ratio_of_sums, np.nan),
    MetricCase(
        "ReconstructionScore mean_of_ratios",
        lambda c: jsm.ReconstructionScore(c, average="mean_of_ratios"),
        LOSSES,
        lambda clean, recon, zero: ((zero - recon) / (zero - clean)).mean(),
        np.nan,
    ),
]
_BY_NAME = {case.name: case for case in LEAF_CASES}

COMBINED_CASES = [
    MetricCase(
        "PerComponent",
        lambda c: jsm.PerComponent(jsm.L0Norm(c), tuple("abc"[:c]), "l0"),
        LEARNED,
        _BY_NAME["L0Norm"].oracle,
        np.nan,
        needs_components=True,
    ),
    MetricCase(
        "MetricCollection",
        lambda c: jsm.MetricCollection(
            {
                "density": jsm.FeatureDensity(NUM_LEARNED_FEATURES, c),
                "l0": jsm.L0Norm(c),
                "losses": jsm.MetricCollection({"score": jsm.ReconstructionScore(c)}),
            }
        ),
        (*LEARNED, *LOSSES),
        lambda f, *losses: {
            "density": density(f),
            "l0": _BY_NAME["L0Norm"].oracle(f),
            "losses/score": ratio_of_sums(*losses),
        },
        np.nan,
    ),
]
ALL_CASES = LEAF_CASES + COMBINED_CASES
# Each metric as it is by default; its options change numbers, not how it runs.
DEFAULT_CASES = [case for case in ALL_CASES if case.name in vars(jsm)]


def draw_inputs(case: MetricCase, shape: tuple[int, ...], num_components: int | None, seed=0):
    """Signed, sparse activations and positive losses, as float32 NumPy arrays."""
    rng = np.random.default_rng(seed)
    components = () if num_components is None else (num_components,)
    inputs = {}
    for name in case.inputs:
        values = rng.normal(size=(*shape, *components, *SIZES[name]))
        if name in LEARNED:
            values *= rng.random(values.shape) < 0.6
        if name in LOSSES:
            values = np.abs(values) + 1 + 3 * LOSSES.index(name)
        inputs[name] = values.astype(np.float32)
    return inputs


def expected(case: MetricCase, inputs, mask, num_components: int | None) -> dict[str, np.ndarray]:
    """The oracle's values by result name, the component axis first."""
    arrays = [np.asarray(inputs[name], np.float64) for name in case.inputs]
    num_axes = arrays[0].ndim - len(SIZES[case.inputs[0]])
    if num_components is None:
        arrays = [np.expand_dims(a, num_axes) for a in arrays]
        num_axes += 1
    shape = arrays[0].shape[:num_axes]
    keep = np.ones(shape, bool)
    if mask is not None:
        keep = np.broadcast_to(mask.reshape(*mask.shape, *(1,) * (num_axes - mask.ndim)), shape)
    per_component = []
    for component in range(shape[-1]):
        vectors = [a[..., component, :] if a.ndim > num_axes else a[..., component] for a in arrays]
        vectors = [v[keep[..., component]] for v in vectors]
        if keep[..., component].any():
            value = case.oracle(*vectors)
        else:
            of_anything = case.oracle(
                *(np.ones((1, *v.shape[1:])) * (i + 1) for i, v in enumerate(vectors))
            )
            value = _map(lambda x: np.full(np.shape(x), case.of_nothing), of_anything)
        per_component.append(value if isinstance(value, dict) else {"": value})
    stacked = {k: np.stack([v[k] for v in per_component]) for k in per_component[0]}
    if num_components is None:
        stacked = {k: v[0] for k, v in stacked.items()}
    if case.name == "PerComponent":
        values = stacked[""]
        stacked = {f"l0/{name}": v for name, v in zip("abc", values, strict=False)}
        stacked["l0/mean"] = np.mean(values)
    return stacked


def assert_matches(case: MetricCase, value, wanted: dict[str, np.ndarray]) -> None:
    """Counts are equal, floats within 1e-6 relative of the float64 oracle."""
    value = value if isinstance(value, dict) else {"": value}
    assert value.keys() == wanted.keys()
    for name, want in wanted.items():
        got = np.asarray(value[name])
        assert got.shape == want.shape
        if not case.ordered:
            got, want = np.sort(got), np.sort(want)
        if np.issubdtype(got.dtype, np.integer):
            np.testing.assert_array_equal(got, want)
        else:
            np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7)


def _map(function, value):
    if isinstance(value, dict):
        return {name: function(leaf) for name, leaf in value.items()}
    return function(value)
