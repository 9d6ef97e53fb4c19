"""The ways of counting over devices that several processes own: the same code in one process."""

import dataclasses
import functools

import jax
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec as P

import jax_sae_metrics as jsm
from learned_activations import FlatInside, dense_form, flat_form, top_k_form
from metric_case import (
    INTEGERS,
    NUM_INPUT_FEATURES,
    NUM_LEARNED_FEATURES,
    RECONSTRUCTION,
    draw_inputs,
)
from metric_cases import DEFAULT_CASES
from subjects import COMPONENTS, OF_EACH_STATE

PROMPTS, TOKENS = 16, 2
SIZES = NUM_LEARNED_FEATURES, NUM_INPUT_FEATURES, COMPONENTS


@dataclasses.dataclass(frozen=True)
class Case:
    """How a collection is run, on which form of codes, and on which cut of the batches."""

    way: str
    code: str
    cut: str
    metrics: str

    @classmethod
    def named(cls, name):
        return cls(*name.split("/"))

    def __str__(self):
        return "/".join(dataclasses.astuple(self))

    def metric(self):
        """The collection; where each device has a state, without what needs a whole batch."""
        metrics = COLLECTIONS[self.metrics]
        of_parts = {n: m for n, m in metrics.items() if n not in OF_BATCHES}
        return jsm.MetricCollection(of_parts if self.way == "all_reduce" else metrics)

    def run(self, devices):
        """The state after all batches, on devices `[process, device]`."""
        # Flat codes count vectors from the first that a device has: those of a part are made there.
        is_flattened_inside = self.code == "flat" and self.way in OF_PARTS
        form = FORMS["top k" if is_flattened_inside else self.code]
        metric = FlatInside(self.metric()) if is_flattened_inside else self.metric()
        batches = [with_codes(form, batch) for batch in CUTS[self.cut](len(devices))]
        return WAYS[self.way](metric, batches, devices)


INPUTS = ("learned_activations", *RECONSTRUCTION, "example_ids")

OTHER_STATES = [
    case
    for case in DEFAULT_CASES
    if case.name in OF_EACH_STATE and {*case.inputs} <= {*INPUTS}
    if case.name not in ("FeatureDensity", "ExplainedVariance", "DeadFeatures")
]
OF_BATCHES = [case.name for case in OTHER_STATES if case.of_batches]
STATES = {case.name: case.build(COMPONENTS) for case in OTHER_STATES}
EXAMPLES = {"TopActivatingExamples": STATES["TopActivatingExamples"]}
COLLECTIONS = {
    "training": dict(jsm.training_metrics(*SIZES).metrics) | STATES,
    "evaluation": dict(jsm.evaluation_metrics(*SIZES).metrics) | EXAMPLES,
}


def draw(seed):
    """Numbers of few digits: their float32 sums are exact, in whatever order devices are added."""
    batch = draw_inputs(INPUTS, (PROMPTS, TOKENS), COMPONENTS, seed)
    return {n: v if n in INTEGERS else np.round(v * 16) / 16 for n, v in batch.items()}


def masked(batch, keep):
    """The batch, with NaN wherever a prompt is masked out."""
    batch = {name: values.copy() for name, values in batch.items()}
    for name in batch.keys() - INTEGERS:
        batch[name][~keep] = np.nan
    return batch | {"mask": np.repeat(keep[:, None], TOKENS, 1)}


def whole(num_processes):
    """Nothing is masked out."""
    del num_processes
    return [draw(seed) for seed in range(2)]


def padded(num_processes):
    """A process has nothing but padding; the last batch is short, and ends within a process."""
    prompt = np.arange(PROMPTS)
    of_the_others = prompt < PROMPTS - PROMPTS // num_processes
    short = prompt < PROMPTS // num_processes - 1
    return [masked(draw(s), keep) for s, keep in enumerate((prompt >= 0, of_the_others, short))]


def with_codes(form, batch):
    codes = jax.tree.map(np.asarray, form(batch["learned_activations"]))
    return batch | {"learned_activations": codes}


def place(mesh, batch, *before):
    """Global arrays of which this process gives its part; features of arrays are spread too."""

    def specs(name, given):
        is_dense = name == "learned_activations" and isinstance(given, np.ndarray)
        spec = P(*before, "data", None, None, "model") if is_dense else P(*before, "data")
        return jax.tree.map(lambda leaf: from_part(NamedSharding(mesh, spec), leaf), given)

    return {name: specs(name, given) for name, given in batch.items()}


def from_part(sharding, array):
    indices = sharding.addressable_devices_indices_map(array.shape).values()
    part = tuple(
        slice(min(s.start or 0 for s in axis), max(s.stop or size for s in axis))
        for size, axis in zip(array.shape, zip(*indices, strict=True), strict=True)
    )
    return jax.make_array_from_process_local_data(sharding, array[part], array.shape)


def mesh_of(devices, axis_type=AxisType.Auto):
    return Mesh(devices, ("data", "model"), axis_types=(axis_type,) * 2)


def sharded_jit(metric, batches, devices, axis_type=AxisType.Auto):
    mesh = mesh_of(devices, axis_type)
    step = jax.jit(lambda state, batch: metric.update(state, **batch), donate_argnums=0)
    state = metric.init(sharding=NamedSharding(mesh, P(None, "model")))
    for batch in batches:
        state = step(state, place(mesh, batch))
    return state


def axis_name(metric, batches, devices):
    mesh = mesh_of(devices)

    @jax.jit
    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(P(), P("data")), out_specs=P())
    def step(state, batch):
        return metric.update(state, axis_name="data", **batch)

    state = metric.init(sharding=NamedSharding(mesh, P()))
    for batch in batches:
        state = step(state, place(mesh, batch))
    return state


def all_reduce(metric, batches, devices):
    mesh = mesh_of(devices)

    @jax.jit
    @functools.partial(jax.shard_map, mesh=mesh, in_specs=P(None, "data"), out_specs=P())
    def run(batches):
        empty = jax.tree.map(lambda leaf: lax.pcast(leaf, "data", to="varying"), metric.init())
        step = lambda state, batch: (metric.update(state, **batch), None)  # noqa: E731
        return metric.all_reduce(lax.scan(step, empty, batches)[0], "data")

    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *batches)
    return run(place(mesh, stacked, None))


def side_by_side(way, **options):
    """All devices along the batch."""
    return lambda metric, batches, devices: way(metric, batches, devices.reshape(-1, 1), **options)


def features_spread(way, **options):
    """Features over processes, and the batch over the devices of each."""
    return lambda metric, batches, devices: way(metric, batches, devices.T, **options)


FORMS = {"dense": dense_form, "top k": top_k_form, "flat": flat_form}
CUTS = {"whole": whole, "padded": padded}
WAYS = {
    "sharded jit": side_by_side(sharded_jit),
    "explicit mesh": side_by_side(sharded_jit, axis_type=AxisType.Explicit),
    "axis_name": side_by_side(axis_name),
    "all_reduce": side_by_side(all_reduce),
    "features spread": features_spread(sharded_jit),
    "features spread, explicit mesh": features_spread(sharded_jit, axis_type=AxisType.Explicit),
}
OF_PARTS = ("axis_name", "all_reduce")
