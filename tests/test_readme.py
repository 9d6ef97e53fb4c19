"""Every line of Python in the README runs, in order, as one program."""

import pathlib
import re

import jax
import pytest

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text()


def test_the_readme_runs(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) > 5
    namespace = {}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for block in blocks:
            exec(compile(block, "README.md", "exec"), namespace)
    printed = capsys.readouterr().out
    assert printed.startswith("81.")
    assert printed.rstrip().endswith("[ 2. nan  2.]")


@pytest.mark.parametrize("name", ["pytest", "examples/train_sae.py"])
def test_there_are_exactly_two_set_up_commands(name):
    commands = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    assert len(commands) == 2
    assert sum(name in command for command in commands) == 1
    assert all(command.count("\n") == 1 for command in commands)
