"""What a metric asks is data: it asks once, in any order, and gets answers before it uses them."""

import functools
import random
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_sae_metrics as jsm

FEATURES = 8
ACTS = jnp.asarray(np.random.default_rng(0).normal(size=(40, FEATURES)), jnp.float32)
TOP_K = jsm.TopKActivations(jnp.ones((4, 2)), jnp.ones((4, 2), jnp.int32), FEATURES)


def fires(activation):
    return activation > 0


class AbstractCount(jsm.AbstractMetric):
    """Counts per feature of what `_observe` asks."""

    def _init(self):
        return jsm.Count.zeros((FEATURES,))

    def _compute(self, state):
        return state.to_int()


def test_observe_is_called_once_for_each_update_alone_and_in_a_collection():
    calls = []

    class Called(AbstractCount):
        name: str = eqx.field(static=True)

        def _observe(self, batch):
            calls.append(self.name)
            return batch.learned_activations.sum_per_feature(fires)

    one, other = Called("one"), Called("other")
    inner = jsm.MetricCollection({"other": other})
    for metric in (one, jsm.MetricCollection({"one": one, "inner": inner})):
        calls.clear()
        state = metric.update(metric.init(), learned_activations=ACTS)
        assert sorted(calls) == ["one", "other"][: len(calls)]
        metric.observe(learned_activations=ACTS)
        jax.jit(metric.update)(state, learned_activations=ACTS)
        assert calls.count("one") == 3


class AskedAnew(AbstractCount):
    def _observe(self, batch):
        return batch.learned_activations.sum_per_feature(lambda f: f > 1)


class AskedTheSame(AbstractCount):
    def _observe(self, batch):
        return batch.learned_activations.sum_per_feature(fires)


@pytest.mark.parametrize(
    ("metric", "run", "num_warnings"),
    [(AskedAnew(), lambda f: f, 1), (AskedAnew(), jax.jit, 0), (AskedTheSame(), lambda f: f, 0)],
)
def test_a_function_that_is_made_for_every_batch_is_told_once(metric, run, num_warnings):
    update, state = run(metric.update), metric.init()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(30):
            state = update(state, learned_activations=ACTS)
    assert len(caught) == num_warnings
    assert all("lambda" in str(one.message) for one in caught)


def test_the_order_of_questions_does_not_matter():
    """Each time that it is traced, this metric asks in another order."""
    functions = {"fired": fires, "large": lambda f: f > 1, "nonzero": lambda f: f != 0}
    orders = random.Random(0)
    seen = set()

    class Shuffled(jsm.AbstractMetric):
        def _init(self):
            sums = {name: jsm.Count.zeros((FEATURES,)) for name in functions}
            return sums | {"total": jsm.Total.zeros((FEATURES,)), "l0": jsm.Total.zeros(())}

        def _observe(self, batch):
            learned = batch.learned_activations
            ask = {n: functools.partial(learned.sum_per_feature, f) for n, f in functions.items()}
            ask["total"] = functools.partial(learned.sum_per_feature, jnp.abs)
            ask["l0"] = functools.partial(learned.sum_per_vector, functions["nonzero"])
            names = list(ask)
            orders.shuffle(names)
            seen.add(tuple(names))
            return {name: ask[name]() for name in names} | {"items": learned.items}

        def _finish(self, found):
            return {n: v for n, v in found.items() if n != "items"} | {
                "l0": found["items"].sum(found["l0"])
            }

        def _compute(self, state):
            totals = ("total", "l0")
            counts = {n: s.to_int() for n, s in state.items() if n not in totals}
            return counts | {name: state[name].to_float() for name in totals}

    metric = Shuffled()
    wanted = {name: np.asarray(f(ACTS)).sum(0) for name, f in functions.items()}
    wanted |= {"l0": np.count_nonzero(ACTS), "total": np.abs(np.float64(ACTS)).sum(0)}
    for _ in range(6):
        value = metric.compute(metric.update(metric.init(), learned_activations=ACTS))
        for name, want in wanted.items():
            np.testing.assert_allclose(value[name], want, rtol=1e-6, err_msg=name)
    assert len(seen) > 1


CALCULATIONS = {
    "a division": lambda question: question / 2,
    "a product from the left": lambda question: 2 * question,
    "a sum with an array": lambda question: jnp.ones(4) + question,
    "a sum with a NumPy array": lambda question: np.ones(4) + question,
    "a comparison": lambda question: question == 0,
    "a root": jnp.sqrt,
    "a NumPy root": np.sqrt,
    "a sum": jnp.sum,
    "a method": lambda question: question.astype(jnp.float32),
    "an index": lambda question: question[0],
    "a condition": bool,
    "a number": float,
    "a list": list,
}


@pytest.mark.parametrize("calculation", CALCULATIONS.values(), ids=CALCULATIONS)
def test_to_calculate_with_a_question_is_an_error_that_says_what_to_write(calculation):
    class Early(AbstractCount):
        def _observe(self, batch):
            return calculation(batch.learned_activations.sum_per_vector(jnp.square))

    with pytest.raises((TypeError, ValueError), match=r"no value yet.*`_finish\(self, found\)`"):
        Early().update(Early().init(), learned_activations=ACTS)


NOT_OF_ONE_NUMBER = {
    "a sum over features": lambda f: f.sum(-1),
    "a softmax": lambda f: jax.nn.softmax(f, axis=-1),
    "centred": lambda f: f - f.mean(0),
    "of all features": lambda f: f * jnp.arange(8.0),
    "two values": lambda f: (f, f),
    "an integer": lambda f: jnp.sign(f).astype(jnp.int32),
    "nothing": lambda f: None,
}


array_and_top_k = pytest.mark.parametrize("given", [ACTS, TOP_K], ids=["array", "TopK"])


@array_and_top_k
@pytest.mark.parametrize("function", NOT_OF_ONE_NUMBER.values(), ids=NOT_OF_ONE_NUMBER)
def test_a_function_of_more_than_one_number_is_refused(function, given):
    class Sum(AbstractCount):
        def _observe(self, batch):
            return batch.learned_activations.sum_per_feature(function)

    with pytest.raises(TypeError, match="expected a function of 1 number"):
        Sum().update(Sum().init(), learned_activations=given)


@pytest.mark.parametrize("question", ["moments_per_feature", "squared_distance_per_vector"])
def test_what_entries_alone_do_not_tell_is_refused(question):
    class Moments(AbstractCount):
        def _observe(self, batch):
            return getattr(batch.learned_activations, question)(jnp.square)

    with pytest.raises(TypeError, match=r"TopKActivations have no moments.*Pass an array"):
        Moments().update(Moments().init(), learned_activations=TOP_K)


OF_ANOTHER_TYPE = {
    "a position of numbers": ("last_per_feature", jnp.square, "returns a boolean"),
    "a maximum of conditions": ("max_per_feature", fires, "returns a float"),
    "prompts with numbers": ("prompts_per_feature", jnp.square, "returns a boolean"),
}


@array_and_top_k
@pytest.mark.parametrize(
    ("kind", "function", "says"), OF_ANOTHER_TYPE.values(), ids=OF_ANOTHER_TYPE
)
def test_a_function_of_another_type_than_the_kind_reduces_is_refused(kind, function, says, given):
    class Asks(AbstractCount):
        def _observe(self, batch):
            return getattr(batch.learned_activations, kind)(function)

    with pytest.raises(TypeError, match=says):
        Asks().update(Asks().init(), learned_activations=given)


@array_and_top_k
def test_a_sum_of_numbers_is_no_count_and_a_count_no_total(given):
    """TopK activations add to few features; these additions are checked as all others are."""
    few = jsm.TopKActivations(jnp.ones((1, 1)), jnp.ones((1, 1), jnp.int32), FEATURES)
    given = given if given is ACTS else few

    class Asks(jsm.AbstractMetric):
        accumulator: type = eqx.field(static=True)

        def _init(self):
            return self.accumulator.zeros((FEATURES,))

        def _observe(self, batch):
            function = jnp.square if self.accumulator is jsm.Count else fires
            return batch.learned_activations.sum_per_feature(function)

        def _compute(self, state):
            return state.to_float()

    for metric, says in ((Asks(jsm.Count), "got float32"), (Asks(jsm.Total), "got int32")):
        with pytest.raises(ValueError, match=says):
            metric.update(metric.init(), learned_activations=given)


def test_activations_by_name_are_arrays_whoever_asked_before():
    class ByName(AbstractCount):
        def _observe(self, batch):
            return batch.activations("learned_activations").sum_per_feature(fires)

    both = jsm.MetricCollection({"density": jsm.FeatureDensity(FEATURES), "by name": ByName()})
    for metric in (ByName(), both):
        with pytest.raises(TypeError, match="learned_activations: ByName expects an array"):
            metric.update(metric.init(), learned_activations=TOP_K)


NO_MEANS = {
    "a number of each feature": (
        lambda learned: (learned.items, learned.sum_per_feature(fires)),
        ValueError,
        r"one number for each item, of shape \(40,\), got \(8,\).*`sum_per_vector`",
    ),
    "a single number": (
        lambda learned: (learned.items, jnp.float32(1)),
        ValueError,
        r"one number for each item, of shape \(40,\), got \(\)",
    ),
    "no items": (
        lambda learned: learned.sum_per_vector(fires),
        TypeError,
        "`_observe` of a mean returns the items, and then",
    ),
    "items alone": (lambda learned: (learned.items,), TypeError, "It returned tuple"),
}


@pytest.mark.parametrize(("asks", "error", "says"), NO_MEANS.values(), ids=NO_MEANS)
def test_what_is_no_mean_over_items_is_refused(asks, error, says):
    class Mean(jsm.AbstractMean):
        def _observe(self, batch):
            return asks(batch.learned_activations)

    with pytest.raises(error, match=says):
        Mean().update(Mean().init(), learned_activations=ACTS)
