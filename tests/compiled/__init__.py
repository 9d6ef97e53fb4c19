"""Compiling for accelerators that are not here, and reading what a compiled function does."""

from .program import Array, Collective, Compiled, Instruction
from .targets import (
    B200,
    H100,
    TPU_7X,
    TPU_V5E,
    TPU_V6E,
    NotInstalledError,
    Target,
    compile_for,
)

__all__ = [
    "B200",
    "H100",
    "TPU_7X",
    "TPU_V5E",
    "TPU_V6E",
    "Array",
    "Collective",
    "Compiled",
    "Instruction",
    "NotInstalledError",
    "Target",
    "compile_for",
]
