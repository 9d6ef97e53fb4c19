"""A metric under test: how it is built, what it reads, and an independent float64 oracle.

An oracle sees the unmasked vectors (or losses) of one component, `[N, ...]` in float64, and says
what the metric should be. It does not know about batches, masks, components or devices, unless its
case says so.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

import jax_sae_metrics as jsm

NUM_LEARNED_FEATURES = 8
NUM_INPUT_FEATURES = 4
VOCAB_SIZE = 5

LEARNED = ("learned_activations",)
TRUE = ("true_activations",)
RECONSTRUCTION = ("source_activations", "decoded_activations")
LOSSES = (
    "source_model_loss",
    "source_model_loss_with_reconstruction",
    "source_model_loss_with_zero_ablation",
)
LOSS_OF_MEANS = ("source_model_loss_with_mean_ablation",)
LOGITS = ("source_logits", "logits_with_reconstruction", "logits_with_zero_ablation")
LOGITS_OF_MEANS = ("logits_with_mean_ablation",)
NORMS = ("decoder_norms",)
IDS = ("example_ids",)

# The axes of each input after the batch and component axes.
SIZES = (
    dict.fromkeys(LEARNED + TRUE + NORMS, (NUM_LEARNED_FEATURES,))
    | dict.fromkeys(RECONSTRUCTION, (NUM_INPUT_FEATURES,))
    | dict.fromkeys(LOSSES + LOSS_OF_MEANS, ())
    | dict.fromkeys(LOGITS + LOGITS_OF_MEANS, (VOCAB_SIZE,))
    | dict.fromkeys(IDS, ())
)
PER_LEARNED_FEATURE = frozenset(LEARNED + TRUE + NORMS)
PER_ITEM = frozenset(LOSSES + LOSS_OF_MEANS + LOGITS + LOGITS_OF_MEANS)
# Without batch axes: these are not cut into batches, spread over devices or masked.
UNBATCHED = frozenset(NORMS)
# Without a component axis, and not of a floating dtype.
INTEGERS = frozenset(IDS)

Oracle = Callable[..., Any]


@dataclasses.dataclass(frozen=True, eq=False)
class MetricCase:
    """A metric under test.

    - `oracle`: takes the `inputs` in order and returns a value or a dictionary of them.
    - `of_nothing`: the value where nothing was seen, or a dictionary of such values by result name.
    - `of_components`: turns the oracle's values `[component, ...]` into the result.
    - `of_batches`: each batch has a part in the value that depends on the whole of it. The oracle
        sees one batch; this makes the value of what it returned for each, None where nothing was
        seen.
    - `needs_prompts`: the batch axes are `[prompt, token]`. The oracle sees them as they are,
        masked or not, and takes the mask `[prompt, token]` after the inputs.
    - `skips`: beginnings of the names of runners in which it does not run.
    """

    name: str
    build: Callable[[int | None], jsm.AbstractMetric]
    inputs: tuple[str, ...]
    oracle: Oracle
    of_nothing: float | dict[str, float]
    of_components: Callable[[np.ndarray], dict[str, np.ndarray]] | None = None
    needs_components: bool = False
    needs_prompts: bool = False
    of_batches: Callable[[list[Any]], Any] | None = None
    ordered: bool = True
    skips: tuple[str, ...] = ()
    rtol: float = 1e-6
    atol: float = 1e-7

    def runs_in(self, runner: str, shape: tuple[int, ...], num_components: int | None) -> bool:
        """Whether the metric is defined for this runner, these batch axes and components."""
        # Where each device keeps a separate state, no device sees the whole batch.
        skips = (*self.skips, "all_reduce") if self.of_batches else self.skips
        return (
            not runner.startswith(skips)
            and not (self.needs_prompts and len(shape) < 2)
            and not (self.needs_components and num_components is None)
        )

    def batch_shape(self, size: int) -> tuple[int, ...]:
        """The fewest batch axes, the first of them of the given size."""
        return (size, 2) if self.needs_prompts else (size,)

    def value_of_nothing(self, result: str) -> float:
        """The value of the named result where nothing was seen."""
        is_by_name = isinstance(self.of_nothing, dict)
        return self.of_nothing[result] if is_by_name else self.of_nothing


def draw_inputs(
    names: Iterable[str], shape: tuple[int, ...], num_components: int | None, seed: int = 0
) -> dict[str, np.ndarray]:
    """Arrays by name, float32 but for `INTEGERS`, each the same whatever else is drawn.

    Learned activations are signed and sparse, and the last of them never fires.
    """
    components = () if num_components is None else (num_components,)
    inputs = {}
    for name in names:
        batch, batch_seed = ((), 0) if name in UNBATCHED else (shape, seed)
        rng = np.random.default_rng((batch_seed, list(SIZES).index(name)))
        if name in INTEGERS:
            inputs[name] = rng.integers(0, 2**15, size=batch, dtype=np.int32)
            continue
        values = rng.normal(size=(*batch, *components, *SIZES[name]))
        if name == "decoded_activations":
            # Close to the source: where products cancel, float32 has no digits to compare.
            (source,) = draw_inputs(["source_activations"], shape, num_components, seed).values()
            values = source + 0.3 * values
        if name in LEARNED + TRUE:
            values *= rng.random(values.shape) < 0.6
            values[..., -1] = -np.abs(values[..., -1])
        elif name == "source_activations":
            values += 0.5  # what is centred must differ from what is not
        elif name in LOSSES + LOSS_OF_MEANS:
            values = np.abs(values) + 1 + 3 * (LOSSES + LOSS_OF_MEANS).index(name)
        elif name in NORMS:
            values = np.abs(values) + 0.1
        inputs[name] = values.astype(np.float32)
    return inputs


def by_what_they_read(cases: Sequence[MetricCase]) -> dict[str, list[MetricCase]]:
    """Cases by what they read: each group is compiled, and so paid for, together."""
    return {
        "activations": [case for case in cases if not PER_ITEM.issuperset(case.inputs)],
        "losses and logits": [case for case in cases if PER_ITEM.issuperset(case.inputs)],
    }


def split(*batches: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The inputs without batch axes, the same in all batches; and the batches without them."""
    constants = {name: value for name, value in batches[0].items() if name in UNBATCHED}
    return constants, [{n: v for n, v in batch.items() if n not in UNBATCHED} for batch in batches]


def expected(
    case: MetricCase, batches: Sequence[dict[str, Any]], num_components: int | None
) -> dict[str, np.ndarray]:
    """The oracle's values by result name, the component axis first.

    Batches are as the metric takes them. A batch without a mask counts whole.
    """
    if num_components is None:
        return by_name(_value(case, batches, None))
    values = [by_name(_value(case, batches, component)) for component in range(num_components)]
    stacked = {name: np.stack([value[name] for value in values]) for name in values[0]}
    return case.of_components(stacked[""]) if case.of_components else stacked


def _value(case: MetricCase, batches: Sequence[dict[str, Any]], component: int | None) -> Any:
    """The oracle's value for one component."""
    seen = [_of_component(case, batch, component) for batch in batches]
    is_seen = [batch["mask"].any() for batch in seen]
    if not any(is_seen):
        anything = draw_inputs(case.inputs, case.batch_shape(3), None)
        of_anything = by_name(_value(case, [anything], None))
        return {n: np.full(np.shape(v), case.value_of_nothing(n)) for n, v in of_anything.items()}
    seen = [batch for batch, some in zip(seen, is_seen, strict=True) if some]
    if not case.needs_prompts:
        seen = [
            {n: batch[n] if n in UNBATCHED else batch[n][batch["mask"]] for n in case.inputs}
            for batch in seen
        ]
    with np.errstate(divide="ignore", invalid="ignore"):  # the variance of one vector is 0
        if case.of_batches:
            parts = iter([case.oracle(*batch.values()) for batch in seen])
            return case.of_batches([next(parts) if some else None for some in is_seen])
        constants, varying = split(*seen)
        whole = {name: np.concatenate([batch[name] for batch in varying]) for name in varying[0]}
        return case.oracle(*((constants | whole)[name] for name in seen[0]))


def _of_component(case: MetricCase, batch: dict[str, Any], component: int | None) -> dict[str, Any]:
    """The case's inputs in float64, and the mask over the batch axes, of one component."""
    arrays = {name: np.asarray(batch[name], np.float64) for name in case.inputs}
    if component is not None:
        arrays = {
            n: a if n in INTEGERS or a.ndim == 0 else _at(a, component, -1 - len(SIZES[n]))
            for n, a in arrays.items()
        }
    name = next(name for name in arrays if name not in UNBATCHED)
    shape = arrays[name].shape[: arrays[name].ndim - len(SIZES[name])]
    # No mask applies to a scalar.
    mask = np.asarray(batch.get("mask", True)) if shape else np.ones((), bool)
    mask = np.broadcast_to(mask, shape) if mask.ndim == 0 else mask
    return arrays | {"mask": mask if mask.shape == shape else _at(mask, component, -1)}


def _at(array: np.ndarray, component: int, axis: int) -> np.ndarray:
    """What belongs to a component, along an axis that may be the same for all."""
    return array.take(min(component, array.shape[axis] - 1), axis)


def assert_matches(case: MetricCase, value: Any, wanted: dict[str, np.ndarray]) -> None:
    """Counts are equal, floats within the case's tolerance of the float64 oracle."""
    value = by_name(value)
    assert value.keys() == wanted.keys()
    for name, want in wanted.items():
        got = np.asarray(value[name])
        assert got.shape == np.shape(want), name
        if not case.ordered:
            got, want = np.sort(got), np.sort(want)
        if np.issubdtype(got.dtype, np.integer):
            np.testing.assert_array_equal(got, want, err_msg=name)
        else:
            np.testing.assert_allclose(got, want, rtol=case.rtol, atol=case.atol, err_msg=name)


def by_name(value: Any) -> dict[str, Any]:
    """A result as a dictionary, if it is not one."""
    return value if isinstance(value, dict) else {"": value}
