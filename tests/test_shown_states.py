"""A state shows what was counted, where its values are at hand."""

import jax
import jax.numpy as jnp
import pytest

import jax_sae_metrics as jsm
from jax_sae_metrics._core.collection_state import unpooled
from metric_cases import ALL_CASES

METRIC = jsm.FeatureDensity(3)
STATE = METRIC.update(METRIC.init(), learned_activations=jnp.array([[1.0, 0.0, 2.0]] * 5))
SHOWN = """State(
  FeatureDensity(num_learned_features=3, num_components=None, threshold=0, absolute=False),
  num_fired=[5 0 5],
  num_activation_vectors=5,
)"""


def test_values_of_accumulators_are_shown():
    assert repr(STATE) == str(STATE) == SHOWN
    assert repr(jax.device_get(STATE)) == SHOWN
    assert repr({"density": STATE}) == f"{{'density': {SHOWN}}}"


class OneCount(jsm.AbstractMetric):
    """A metric with a single accumulator."""

    def _init(self):
        return jsm.Count.zeros(())

    def _observe(self, batch):
        raise NotImplementedError

    def _compute(self, state):
        return state.to_int()


def test_a_single_accumulator_has_no_name():
    assert repr(OneCount().init()) == "State(\n  OneCount(),\n  value=0,\n)"


def test_many_values_are_shortened():
    shown = repr(jsm.FeatureDensity(10_000, 100).init())
    assert "..." in shown
    assert len(shown) < 1000


def test_a_program_that_is_traced_shows_values_at_hand_and_types_of_others():
    shown, dead = [], jsm.DeadFeatures(3).init()  # whose ages JAX computes

    @jax.jit
    def program(state):
        shown.extend((repr(STATE), repr(state), repr(dead)))
        return state

    donated = jax.jit(lambda state: METRIC.merge(state, state), donate_argnums=0)
    state = jax.tree.map(jnp.copy, program(STATE))
    assert shown[0] == SHOWN
    assert "words=u32[2,3]" in shown[1]
    assert "last_fired=[0 0 0]" in shown[2]
    donated(state)
    assert "words=u32[2,3]" in repr(state)
    assert "words=ShapeDtypeStruct" in repr(jax.eval_shape(METRIC.init))


@pytest.mark.parametrize(
    "build", [lambda: METRIC, jsm.L0Norm, lambda: jsm.training_metrics(3, 2)], ids=range(3)
)
def test_states_of_many_models_are_shown_without_values(build):
    """In a window, or stacked by `vmap`, they have an axis in front."""
    metric = build()
    window = jsm.Window(metric, 3).init()
    assert "inner=[0 0 0]" in repr(window)
    stacked = jax.vmap(lambda _: metric.init())(jnp.arange(5))
    assert "[5, 2" in repr(stacked)


@pytest.mark.parametrize("case", ALL_CASES, ids=lambda case: case.name)
def test_every_state_can_be_shown(case):
    state = unpooled(case.build(2).init())
    for one in jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, jsm.State)):
        assert repr(one).startswith(f"State(\n  {one.counted_by},\n")
        assert "u32[" not in repr(one)
