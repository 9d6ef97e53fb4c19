"""States survive formats of files that hold arrays alone, and are refused where they do not fit."""

import io
import pickle

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

import jax_sae_metrics as jsm
from jax_sae_metrics._core.collection_state import closed
from subjects import few_and_all_together

FEATURES = 3


def through_npz(arrays, **how):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return np.load(io.BytesIO(file.getvalue()), **how)


def flat(tree, before=""):
    """The arrays of nested dictionaries, with keys joined by slashes."""
    if not isinstance(tree, dict):
        return {before: tree}
    parts = [flat(node, f"{before}/{key}" if before else key) for key, node in tree.items()]
    return {key: leaf for part in parts for key, leaf in part.items()}


def through_msgpack(tree):
    serialization = pytest.importorskip("flax.serialization", reason="flax is not installed")
    return serialization.msgpack_restore(serialization.msgpack_serialize(tree))


FORMATS = {
    "as it is": lambda tree: tree,
    "flat": flat,
    "pickle": lambda tree: pickle.loads(pickle.dumps(tree)),
    "npz of flat": lambda tree: through_npz(flat(tree)),
    "npz of nested": lambda tree: through_npz(tree, allow_pickle=True),
    "msgpack": through_msgpack,
    "device": lambda tree: jax.tree.map(jnp.asarray, tree),
}


def assert_same(state, wanted):
    assert jax.tree.structure(state) == jax.tree.structure(wanted)
    for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(wanted), strict=True):
        assert isinstance(one, jax.Array)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def counted():
    """A metric, and a state of it, once for each subject."""
    states = {}

    def of(subject):
        if subject not in states:
            metric = subject.build()
            states[subject] = metric, jax.jit(metric.update)(metric.init(), **subject.inputs())
        return states[subject]

    return of


@few_and_all_together
@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_a_state_survives(counted, subject, form):
    metric, state = counted(subject)
    assert_same(metric.from_state_dict(form(metric.state_dict(state))), state)


def test_all_leaves_are_arrays_of_numpy():
    metric = jsm.training_metrics(FEATURES, 2)
    for leaf in jax.tree.leaves(metric.state_dict(metric.init())):
        assert type(leaf) is np.ndarray


def test_the_layout():
    tree = jsm.MetricCollection({"a/b": jsm.FeatureDensity(FEATURES)})
    tree = tree.state_dict(tree.init())
    assert list(tree) == ["schema_version", "metric", "state"]
    assert tree["schema_version"] == 1
    call = "MetricCollection(metrics={'a/b': FeatureDensity(num_learned_features=3)})"
    assert tree["metric"].tobytes().decode() == call
    part = tree["state"]["a/b"]
    assert part["configuration"].tobytes().startswith(b"FeatureDensity(num_learned_features=3")
    counts = ("num_fired", "num_activation_vectors")
    assert list(part["arrays"]) == [f"{name}.words" for name in counts]


def test_arrays_are_copies():
    """The next step may write its result where the state was."""
    metric = jsm.FeatureDensity(FEATURES)
    ones = {"learned_activations": jnp.ones((2, FEATURES))}
    step = jax.jit(lambda state: metric.update(state, **ones), donate_argnums=0)
    state = step(metric.init())
    tree = metric.state_dict(state)
    again = metric.from_state_dict(tree)
    step(state)
    fired = tree["state"]["arrays"]["num_fired.words"]
    np.testing.assert_array_equal(fired[1], 2)
    fired += np.uint32(100)
    np.testing.assert_array_equal(again.num_fired.to_numpy(), 2)


class OfAnother(jsm.AbstractMetric):
    """A metric whose state holds the states of others."""

    def _init(self):
        return {"both": (L0.init(), {"density": DENSITY.init()}), "number": jsm.Count.zeros(())}

    def _observe(self, batch):
        raise NotImplementedError

    def _compute(self, state):
        return state["number"].to_int()


L0, DENSITY = jsm.L0Norm(), jsm.FeatureDensity(FEATURES)


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_states_inside_of_a_state(form):
    metric = OfAnother()
    state = jax.tree.map(lambda leaf: leaf + jnp.ones_like(leaf), metric.init())
    assert_same(metric.from_state_dict(form(metric.state_dict(state))), state)


BOTH = jsm.MetricCollection({"l0": L0, "inner": jsm.MetricCollection({"density": DENSITY})})
WHERE = "state/inner/density"
WORDS = f"{WHERE}/arrays/num_fired.words"


def changed(**changes):
    """The flat dictionary of a state of both metrics, with some entries changed or taken away."""
    tree = flat(BOTH.state_dict(BOTH.init())) | changes
    return {key: leaf for key, leaf in tree.items() if leaf is not None}


def without(where):
    return {key: leaf for key, leaf in changed().items() if not key.startswith(where)}


OTHER = jsm.FeatureDensity(FEATURES, threshold=0.5)
# (dictionary, what the error says).
REFUSED = {
    "another configuration": (
        changed(**{f"{WHERE}/configuration": np.frombuffer(b"FeatureDensity(7)", np.uint8)}),
        r"\['inner'\]\['density'\] was counted by FeatureDensity\(7\), not by FeatureDensity\(num",
    ),
    "a metric is missing": (without(WHERE), rf"It has no '{WHERE}', .*FeatureDensity\("),
    "an array is missing": (changed(**{WORDS: None}), r"num_fired\.words: expected .* got nothing"),
    "a metric too many": (
        changed(**flat(L0.state_dict(L0.init())["state"], "state/more")),
        "It has 'state/more/configuration' too many",
    ),
    "shape": (
        changed(**{WORDS: np.zeros((2, FEATURES + 1), np.uint32)}),
        r"num_fired\.words: expected uint32\[2,3\], got a ndarray uint32\[2,4\]",
    ),
    "dtype": (
        changed(**{WORDS: np.zeros((2, FEATURES), np.int32)}),
        r"num_fired\.words: expected uint32\[2,3\], got a ndarray int32\[2,3\]",
    ),
    "no array": (changed(**{WORDS: [0, 0, 0]}), r"num_fired\.words\[0\]: expected nothing here"),
    "a newer schema": (changed(schema_version=np.int32(2)), "schema version 2, .* up to 1"),
    "no schema": (changed(schema_version=None), "no 'schema_version'"),
    "no dictionary": (BOTH.init()["l0"], "It is a State counted by L0Norm"),
}


@pytest.mark.parametrize(("tree", "says"), REFUSED.values(), ids=REFUSED)
def test_what_differs_is_named(tree, says):
    with pytest.raises(ValueError, match=f"state_dict: not of a state of MetricCollection.*{says}"):
        BOTH.from_state_dict(tree)


@pytest.mark.parametrize("name", [name for name in REFUSED if name != "a metric is missing"])
def test_only_whole_metrics_are_filled_with_empty_states(name):
    with pytest.raises(ValueError, match="state_dict: not of a state of MetricCollection"):
        BOTH.from_state_dict(REFUSED[name][0], missing="empty")


@pytest.mark.parametrize("where", ["state/l0", "state/inner", WHERE])
def test_missing_metrics_are_empty_if_that_is_wanted(where):
    state = jax.tree.map(lambda leaf: leaf + jnp.ones_like(leaf), BOTH.init())
    kept = {n: x for n, x in flat(BOTH.state_dict(state)).items() if not n.startswith(where)}
    if where == "state/l0":
        wanted = state | {"l0": L0.init()}
    else:
        wanted = state | {"inner": {"density": DENSITY.init()}}
    assert_same(BOTH.from_state_dict(kept, missing="empty"), closed(wanted))


def test_wrong_arguments():
    jaxtyping.config.update("jaxtyping_disable", True)  # as in a user's program
    with pytest.raises(ValueError, match="missing: expected one of error, empty, got None"):
        L0.from_state_dict({}, missing=None)
    jaxtyping.config.update("jaxtyping_disable", False)
    with pytest.raises(ValueError, match="state: not a state of L0Norm"):
        L0.state_dict(DENSITY.init())
    with pytest.raises(ValueError, match=r"counted by .*threshold=0,.*, not by .*0\.5"):
        OTHER.from_state_dict(DENSITY.state_dict(DENSITY.init()))
