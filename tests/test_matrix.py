"""Every metric, in every way of running it, at every dtype and mask, against the oracle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metric_cases import DEFAULT_CASES, assert_matches, draw_inputs, expected
from runners import RUNNERS

NUM_BATCHES = 2
# The layout that is not masked, and the one that is; both kinds compile anew. On each of 8 devices
# there are 34 items: more than XLA:CPU reduces in one go, and not a multiple.
LAYOUTS = {
    "vectors": {"shape": (272,), "num_components": None, "masked": False},
    "masked sequences of 3 components": {"shape": (136, 2), "num_components": 3, "masked": True},
}
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "x64": jnp.float64}


def draw_batches(case, shape, num_components, dtype, masked):
    """Batches as a user passes them, and what an oracle is to see: (batches, inputs, mask)."""
    rng = np.random.default_rng(1)
    batches, seen, masks = [], [], []
    for seed in range(NUM_BATCHES):
        inputs = draw_inputs(case, shape, num_components, seed)
        batch = {name: jnp.asarray(values, dtype) for name, values in inputs.items()}
        seen.append({name: np.asarray(v.astype(jnp.float32)) for name, v in batch.items()})
        if masked:
            mask = rng.random((*shape, num_components)) < 0.6
            mask[..., -1] = False  # all of the last component is masked out
            masks.append(mask)
            batch = {name: poison(values, mask) for name, values in batch.items()}
            batch["mask"] = jnp.asarray(mask)
        batches.append(batch)
    inputs = {name: np.concatenate([s[name] for s in seen]) for name in case.inputs}
    return batches, inputs, np.concatenate(masks) if masked else None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("case", DEFAULT_CASES, ids=lambda case: case.name)
def test_equals_the_oracle(case, runner, layout, dtype):
    layout = LAYOUTS[layout]
    num_components = layout["num_components"]
    if case.needs_components and num_components is None:
        num_components = 1
    with jax.enable_x64(dtype == "x64"):
        batches, inputs, mask = draw_batches(
            case, layout["shape"], num_components, DTYPES[dtype], layout["masked"]
        )
        value = RUNNERS[runner](case.build(num_components), batches)
    assert_matches(case, value, expected(case, inputs, mask, num_components))


def poison(values, mask):
    """NaN wherever the mask says that a value must not matter."""
    keep = jnp.asarray(mask.reshape(*mask.shape, *(1,) * (values.ndim - mask.ndim)))
    return jnp.where(keep, values, jnp.full_like(values, jnp.nan))
