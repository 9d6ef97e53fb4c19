"""Compiling for accelerators that are not here, and reading what a compiled function does."""

from .program import Array, Collective, Compiled, Instruction
from .targets import H100, TPU_V5E, NotInstalledError, Target, compile_for

__all__ = [
    "H100",
    "TPU_V5E",
    "Array",
    "Collective",
    "Compiled",
    "Instruction",
    "NotInstalledError",
    "Target",
    "compile_for",
]
