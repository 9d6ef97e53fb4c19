"""Compile updates and train steps for accelerators that are not here, and read what they would do.

    python -m benchmarks.compile_only [--quick] [--output DIR]

Nothing runs: this proves reads of the activations, memory and exchanges between devices, not time.
It needs the compilers of the targets: libtpu, and jax-cuda13-plugin with jax-cuda13-pjrt.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec as P
from jaxtyping import PyTree

import jax_sae_metrics as jsm
from tests.compiled import (
    B200,
    H100,
    TPU_7X,
    TPU_V5E,
    TPU_V6E,
    Compiled,
    NotInstalledError,
    Target,
    compile_for,
)

from .environment import environment
from .optional import skip, skipped
from .ours import training_collection
from .report import Facts, in_bytes, in_seconds, print_facts
from .step import Sizes, TrainStep, accumulate_nothing, observe_nothing

TARGETS = [Target(TPU_V5E, 1), Target(TPU_V5E, 16), Target(TPU_V5E, 256)]
TARGETS += [Target(TPU_V6E, 1), Target(TPU_V6E, 16), Target(TPU_7X, 1), Target(TPU_7X, 16)]
TARGETS += [Target(H100, 1), Target(H100, 8), Target(B200, 1), Target(B200, 8)]


class Program(NamedTuple):
    """A function to compile, and the buffer whose reads are counted."""

    name: str
    function: Callable[..., Any]
    arguments: PyTree
    specs: PyTree
    activations: int  # entries on each chip
    inputs: int | None = None  # of source activations, and of decoded ones


def main() -> None:
    """Compile everything for every target, print and write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compile_only",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes on one chip of each kind")
    parser.add_argument("--output", type=Path, help="folder to write to")
    arguments = parser.parse_args()
    folder = "compile-only-quick" if arguments.quick else "compile-only"
    output = arguments.output or Path(__file__).parent / "results" / folder
    # What runs on this machine does not matter, and must not wait for an accelerator.
    jax.config.update("jax_platforms", "cpu")

    targets = [Target(TPU_V5E, 1), Target(H100, 1)] if arguments.quick else TARGETS
    tables = [
        Facts("compile_only", title, list(_rows(programs, targets, arguments.quick)))
        for title, programs in PROGRAMS.items()
    ]
    tables = [table for table in tables if table.rows]
    if not tables:
        return
    for table in tables:
        print_facts(Facts(table.suite, table.title, [_for_people(row) for row in table.rows]))
    output.mkdir(parents=True, exist_ok=True)
    content = {
        "environment": environment(),
        "is_quick": arguments.quick,
        "skipped": skipped,
        "tables": [{"title": table.title, "rows": table.rows} for table in tables],
    }
    path = output / "compile_only.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(f"\nWritten to {path}")


def updates(mesh: Mesh, is_quick: bool) -> Iterator[Program]:
    """Each collection on a batch that is split over all chips."""
    batch, learned, num_input = (64, 256, 32) if is_quick else (4096, 16384, 768)
    for name, metrics in _collections(learned, num_input).items():
        for dtype in (jnp.float32, jnp.bfloat16):
            inputs = {
                name: jax.ShapeDtypeStruct((batch * mesh.size, size), dtype)
                for name, size in (
                    ("source_activations", num_input),
                    ("learned_activations", learned),
                    ("decoded_activations", num_input),
                )
            }
            yield Program(
                name=f"{name}, {jnp.dtype(dtype).name}",
                function=lambda state, inputs, metrics=metrics: metrics.update(state, **inputs),
                arguments=(jax.eval_shape(metrics.init), inputs),
                specs=(P(), P("data")),
                activations=batch * learned,
                inputs=batch * num_input,
            )


def train_steps(mesh: Mesh, is_quick: bool) -> Iterator[Program]:
    """A step in bf16, without and with each collection, data-parallel."""
    batch, num_input, learned = (64, 32, 256) if is_quick else (4096, 1024, 32768)
    source = jax.ShapeDtypeStruct((batch * mesh.size, num_input), jnp.bfloat16)
    steps = {"without metrics": (observe_nothing, accumulate_nothing, None)}
    for name, metrics in _collections(learned, num_input).items():
        empty = jax.eval_shape(metrics.init)
        steps[f"with {name}"] = (metrics.observe, metrics.accumulate, empty)
    for name, (observe, accumulate, empty) in steps.items():
        step = TrainStep(Sizes(batch, num_input, learned), observe, accumulate, jnp.bfloat16)
        yield Program(
            name=f"step {name}, bfloat16",
            function=lambda state, source, step=step: step(state, source=source),
            arguments=(jax.eval_shape(step.init, empty), source),
            specs=(P(), P("data")),
            activations=batch * learned,
        )


def _collections(learned: int, num_input: int) -> dict[str, jsm.MetricCollection]:
    return {
        "training collection": training_collection(learned),
        "training_metrics": jsm.training_metrics(learned, num_input),
        "evaluation_metrics": jsm.evaluation_metrics(learned, num_input),
    }


def wide_top_k(mesh: Mesh, is_quick: bool) -> Iterator[Program]:
    """Density of 16 million features, the state split over one half of the mesh."""
    batch, k, learned = (64, 4, 4096) if is_quick else (4096, 64, 2**24)
    density = jsm.FeatureDensity(learned)
    shape = (batch * mesh.shape["data"], k)
    top_k = jax.eval_shape(
        lambda: jsm.TopKActivations(jnp.zeros(shape), jnp.zeros(shape, jnp.int32), learned)
    )
    state = jax.eval_shape(density.init)
    specs = density.partition_specs(P("model"))
    yield Program(
        name="update, TopK",
        function=lambda state, top_k: density.update(state, learned_activations=top_k),
        arguments=(state, top_k),
        specs=(specs, P("data")),
        activations=batch * k,
    )


PROGRAMS = {
    "updates, 4096 x 16384 activations and 2 x 4096 x 768 on each chip": updates,
    "a train step, batch 4096 on each chip, 1024 input and 32768 learned features": train_steps,
    "density of 2^24 features, 4096 vectors with 64 values on each row of chips": wide_top_k,
}


def _rows(
    programs: Callable[[Mesh, bool], Iterator[Program]], targets: list[Target], is_quick: bool
) -> Iterator[dict[str, Any]]:
    for target in targets:
        try:
            mesh = _mesh(target, programs)
        except NotInstalledError as error:
            skip(str(error))
            continue
        for program in programs(mesh, is_quick):
            start = time.perf_counter()
            compiled = Compiled.of(
                compile_for(
                    program.function, mesh, program.arguments, program.specs, donate_argnums=0
                )
            )
            collectives = compiled.collectives()
            yield {
                "target": str(target),
                "program": program.name,
                "reads": compiled.num_reads(program.activations),
                "reads_of_source_and_decoded": (
                    None if program.inputs is None else compiled.num_reads(program.inputs)
                ),
                "bytes_accessed": compiled.bytes_accessed,
                "temporary_bytes": compiled.temporary_bytes,
                "modelled_seconds": compiled.modelled_seconds,
                "collectives": Counter(collective.kind for collective in collectives),
                "collective_bytes": sum(collective.num_bytes for collective in collectives),
                "compile_seconds": time.perf_counter() - start,
            }


def _mesh(target: Target, programs: Callable[..., Any]) -> Mesh:
    if programs is not wide_top_k:
        return target.mesh(data=target.num_chips)
    model = {1: 1, 8: 4, 16: 4, 256: 16}[target.num_chips]
    return target.mesh(data=target.num_chips // model, model=model)


def _for_people(row: dict[str, Any]) -> dict[str, str]:
    collectives = ", ".join(f"{number} {kind}" for kind, number in row["collectives"].items())
    accessed, modelled = row["bytes_accessed"], row["modelled_seconds"]
    return {
        "target": row["target"],
        "program": row["program"],
        "reads": str(row["reads"]),
        "of source, decoded": str(row["reads_of_source_and_decoded"] or ""),
        "accessed": "" if accessed is None else in_bytes(accessed),
        "temporaries": in_bytes(row["temporary_bytes"]),
        # A negative sum in the compiler's model means that it has no estimate of some part.
        "modelled": in_seconds(modelled) if modelled and modelled > 0 else "",
        "exchanges": f"{collectives} of {in_bytes(row['collective_bytes'])}" if collectives else "",
        "compile": in_seconds(row["compile_seconds"]),
    }


if __name__ == "__main__":
    main()
