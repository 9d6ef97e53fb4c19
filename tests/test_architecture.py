"""The folder listing is the architecture: imports run one way, and each name means one thing."""

import ast
import collections
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "jax_sae_metrics"
# From the bottom up. Each may import what stands before it.
LAYERS = (
    {"_arrays", "_configuration", "_extras"},
    {"_accumulator", "_reductions", "_dictionary"},
    {"_inputs"},
    {"_core"},
    {"_metric", "_output"},
    {"_ready_made"},
    {"plot"},
    {"evaluation"},
    {"__init__", "__main__"},
)
LEVELS = {part: level for level, parts in enumerate(LAYERS) for part in parts}
FILES = sorted(PACKAGE.rglob("*.py"))


def part_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_parts(path):
    """The parts of the package that a file imports from, other than its own."""
    depth = len(path.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_import_runs_back_up(path):
    assert LEVELS.keys() == {part_of(path) for path in FILES}
    for part in imported_parts(path):
        assert LEVELS[part] < LEVELS[part_of(path)], part


def test_the_dictionaries_depend_on_the_ground_alone():
    parts = {
        part for path in (PACKAGE / "_dictionary").glob("*.py") for part in imported_parts(path)
    }
    assert parts <= {"_arrays", "_configuration"}


def test_no_two_files_have_the_same_name():
    names = collections.Counter(path.name for path in FILES if path.name != "__init__.py")
    assert max(names.values()) == 1
