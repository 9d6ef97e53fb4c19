"""What a compiled function does: which buffers it reads, how much it holds, what it sends."""

import dataclasses
import math
import re
from collections.abc import Iterator
from typing import Any

_BYTES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "s64": 8, "u64": 8}
_BYTES |= {"f64": 8, "c64": 8}
_ARRAY = re.compile(r"([a-z]+[0-9]*)\[([0-9,]*)\](\{[^}]*\})?")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_CALLED = re.compile(r"(?:calls|to_apply)=%?([\w.\-]+)")
_COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
# Instructions that read a part of their first operand (a dynamic slice, in a loop, reads it all).
_SLICES = ("slice", "gather")
# Instructions that hand on a buffer without reading it.
_ALIASES = (
    "parameter", "bitcast", "tuple", "get-tuple-element", "optimization-barrier", "constant",
    "while", "conditional", "call", "copy-done", "slice-done", "async-done",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Array:
    """Type and shape of a buffer."""

    dtype: str
    shape: tuple[int, ...]
    # In memory of a TPU core itself, to which the compiler copies what it reads often.
    is_on_chip: bool = False

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def num_bytes(self) -> int:
        """Bytes that the elements take."""
        return self.size * _BYTES.get(self.dtype, 4)


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One step of an optimised program: its operands and its result.

    Operands of which only some rows are read are left out.
    """

    opcode: str
    results: tuple[Array, ...]
    operands: tuple[Array, ...]

    @property
    def portion_read(self) -> float:
        """The portion of its operands that it reads.

        XLA:TPU copies large operands to on-chip memory slice by slice.
        """
        if self.opcode != "slice-start":
            return 1.0
        return self.results[1].size / self.operands[0].size


@dataclasses.dataclass(frozen=True)
class Collective:
    """An exchange between devices, and what each of them puts in."""

    kind: str
    operands: tuple[Array, ...]

    @property
    def num_bytes(self) -> int:
        """The bytes that each device puts in."""
        return sum(operand.num_bytes for operand in self.operands)


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A compiled function, as its optimised HLO and the compiler's own analyses describe it."""

    instructions: tuple[Instruction, ...]
    temporary_bytes: int
    bytes_accessed: float | None
    modelled_seconds: float | None

    @classmethod
    def of(cls, compiled: Any) -> "Compiled":
        """Read what `jax.jit(...).lower(...).compile()` returned."""
        # XLA:TPU estimates costs, XLA:GPU leaves them out.
        cost = compiled.cost_analysis() or {}
        return cls(
            instructions=tuple(_executed(compiled.as_text())),
            temporary_bytes=compiled.memory_analysis().temp_size_in_bytes,
            bytes_accessed=cost.get("bytes accessed"),
            modelled_seconds=cost.get("optimal_seconds"),
        )

    def num_reads(self, size: int) -> int:
        """How many times a buffer of `size` elements is read from the memory of the device."""
        reads = sum(
            instruction.portion_read
            for instruction in self.instructions
            if instruction.opcode not in _ALIASES
            for operand in instruction.operands
            if operand.size == size and not operand.is_on_chip
        )
        return round(reads)

    def written(self, size: int) -> set[Array]:
        """The buffers of `size` elements that instructions make."""
        return {
            result
            for instruction in self.instructions
            if instruction.opcode not in _ALIASES
            for result in instruction.results
            if result.size == size
        }

    def collectives(self) -> list["Collective"]:
        """Every exchange between devices."""
        return [
            Collective(kind, instruction.operands)
            for instruction in self.instructions
            for kind in _COLLECTIVES
            if instruction.opcode in (kind, f"{kind}-start")
        ]


def _executed(text: str) -> Iterator[Instruction]:
    """The instructions of all computations but those inside fusions and reductions."""
    lines = text.splitlines()
    inlined = {
        name
        for line in lines
        if " call(" not in line and " while(" not in line and " conditional(" not in line
        for name in _CALLED.findall(line)
    }
    sliced = _sliced_parameters(lines)
    is_executed, shapes = False, {}
    for line in lines:
        if header := _COMPUTATION.match(line):
            is_executed, shapes = header[1] not in inlined, {}
        elif is_executed and " = " in line:
            name, result, opcode, arguments = _parse(line)
            shapes[name] = _arrays(result)
            names = re.findall(r"%([\w.\-]+)", arguments)
            called = _CALLED.search(line)
            partly = sliced.get(called[1], set()) if opcode == "fusion" and called else set()
            partly = {0} if opcode in _SLICES else partly
            read = [operand for place, operand in enumerate(names) if place not in partly]
            operands = tuple(array for operand in read for array in shapes.get(operand, ()))
            yield Instruction(opcode, shapes[name], operands)


def _sliced_parameters(lines: list[str]) -> dict[str, set[int]]:
    """The parameters of each computation that are only read a few rows at a time."""
    sliced: dict[str, set[int]] = {}
    computation, places, left = "", {}, {}
    for line in lines:
        if header := _COMPUTATION.match(line):
            computation, places, left = header[1], {}, {}
        elif computation and " = " in line:
            name, result, opcode, arguments = _parse(line)
            size = sum(array.size for array in _arrays(result))
            operands = [n for n in re.findall(r"%([\w.\-]+)", arguments) if n in places]
            if opcode == "parameter":
                places[name] = int(arguments.strip("()"))
                left[places[name]] = size / 2
            # A fusion converts only the part that is then read.
            is_same = opcode in ("bitcast", "convert") and not line.strip().startswith("ROOT")
            if is_same and operands:
                places[name] = places[operands[0]]
            for operand in operands if not is_same else []:
                is_slice = opcode in _SLICES and operand == operands[0]
                # Two halves that are read one after the other are a whole.
                left[places[operand]] -= size if is_slice else math.inf
            sliced[computation] = {place for place, rest in left.items() if rest > 0}
    return sliced


def _parse(line: str) -> tuple[str, str, str, str]:
    """Name, type, opcode and operands of `[ROOT] %name = type opcode(operands), ...`."""
    name, _, rest = line.strip().removeprefix("ROOT ").partition(" = ")
    end = _matching(rest, 0) if rest.startswith("(") else rest.index(" ")
    result, rest = rest[:end], rest[end:].strip()
    opening = rest.index("(")
    return name.lstrip("%"), result, rest[:opening], rest[opening : _matching(rest, opening)]


def _matching(text: str, opening: int) -> int:
    """The place after the parenthesis that closes the one at `opening`."""
    depth = 0
    for place in range(opening, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place + 1
    raise ValueError(f"unbalanced: {text}")


def _arrays(result: str) -> tuple[Array, ...]:
    return tuple(
        Array(dtype, tuple(int(size) for size in sizes.split(",") if size), "S(1)" in layout)
        for dtype, sizes, layout in _ARRAY.findall(result)
    )
