"""What works where nothing but the package and its dependencies is installed, and what says so."""

import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import jax_sae_metrics as jsm
from jax_sae_metrics.evaluation import Evaluation, evaluate

assert "site-packages" in jsm.__file__, jsm.__file__
assert (pathlib.Path(jsm.__file__).parent / "py.typed").exists()

weights = jax.random.normal(jax.random.key(0), (5, 8))


def model(tokens: jax.Array, intervene: Callable[[jax.Array, int], jax.Array]) -> jax.Array:
    """A language model with one hook point."""
    return intervene(weights[tokens], 0) @ weights.T


tokens = jax.random.randint(jax.random.key(1), (4, 16), 0, 5)
result = evaluate(model, {"embedding": lambda x: (jnp.abs(x), 0.9 * x)}, [tokens])
result.save("states.npz")
print(Evaluation.load("states.npz"))


def said_by(call: Callable[[], Any]) -> str:
    """What a call says is missing."""
    try:
        call()
    except ModuleNotFoundError as error:
        return str(error)
    return ""


for call in (result.plot, result.report):
    assert 'pip install "jax_sae_metrics[' in said_by(call), call
run = subprocess.run(
    [sys.executable, "-m", "jax_sae_metrics", "report", "states.npz"],
    capture_output=True,
    text=True,
    check=False,
)
assert run.returncode == 1, run.stdout
assert 'pip install "jax_sae_metrics[' in run.stderr, run.stderr
print("1 passed, 0 failed")
