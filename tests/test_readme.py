"""Every line of Python in the README, and on the page of definitions, runs as one program."""

import pathlib
import re

import jax
import pytest

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DEFINITIONS = (ROOT / "jax_sae_metrics/definitions.md").read_text()


def run_blocks(page, at_least):
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) >= at_least
    namespace = {}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for block in blocks:
            exec(compile(block, "page", "exec"), namespace)


def test_the_readme_runs(capsys):
    run_blocks(README, at_least=6)
    printed = capsys.readouterr().out
    assert printed.startswith("81.")
    assert printed.rstrip().endswith("[ 2. nan  2.]")


def test_the_worked_case_of_the_definitions_holds():
    """It asserts its numbers itself."""
    assert "assert" in DEFINITIONS
    run_blocks(DEFINITIONS, at_least=1)


@pytest.mark.parametrize("name", ["pytest", "examples/train_sae.py"])
def test_there_are_exactly_two_set_up_commands(name):
    commands = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    assert len(commands) == 2
    assert sum(name in command for command in commands) == 1
    assert all(command.count("\n") == 1 for command in commands)
