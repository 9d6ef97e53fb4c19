"""A metric is made again from the text in its saved states, and nothing else in a text is run."""

import jax
import pytest

import jax_sae_metrics as jsm
from jax_sae_metrics._core.constructor_call import constructor_call, metric_of
from subjects import few_and_all_together


def public(name):
    return Scaled if name == "Scaled" else getattr(jsm, name)


@few_and_all_together
def test_what_is_made_of_the_text_is_equal(subject):
    metric = subject.build()
    assert metric_of(constructor_call(metric), public) == metric


NESTED = jsm.MetricCollection(
    {
        "a'b": jsm.PerComponent(
            jsm.ExplainedVariance(2, 2, definition="total_variance"), ("x", "y")
        ),
        "one": jsm.DeadFeatures(4, after_tokens=(7,)),
        "inner": jsm.MetricCollection(
            {
                "window": jsm.Window(jsm.L0Norm(threshold=1e-3), 20),
                "renamed": jsm.Renamed(jsm.L0Norm(), learned_activations="codes"),
            }
        ),
    }
)


def test_metrics_of_metrics():
    again = metric_of(constructor_call(NESTED), public)
    assert again == NESTED
    assert jax.tree.structure(again.init()) == jax.tree.structure(NESTED.init())


class Scaled(jsm.AbstractMetric):
    """A metric that does not keep an argument under its name."""

    scale: float

    def __init__(self, factor):
        self.scale = factor

    def _init(self):
        return {"total": jsm.Total.zeros(())}

    def _observe(self, batch):
        raise NotImplementedError

    def _compute(self, state):
        return state["total"].to_float()


WRONG = {
    "an argument that was not kept": constructor_call(Scaled(2.0)),
    "another call": "L0Norm(num_components=print('run'))",
    "by position": "L0Norm(3)",
    "an attribute": "L0Norm.init()",
    "an operation": "L0Norm(num_components=1 + 1)",
    "no Python": "L0Norm(",
    "empty": "",
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_what_is_no_call_of_a_class_is_refused(text, capsys):
    with pytest.raises((ValueError, AttributeError)):
        metric_of(text, public)
    assert not capsys.readouterr().out
