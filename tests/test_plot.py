"""What figures show equals NumPy, and drawing leaves nothing else changed."""

import re
import subprocess
import sys
import types

import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")

import itertools

import matplotlib.pyplot as plt

import jax_sae_metrics as jsm
from jax_sae_metrics import plot
from jax_sae_metrics.evaluation import Evaluation

random = np.random.default_rng(0)
DENSITIES = np.minimum(10 ** random.normal(-3, 1, (3, 500)), 1)
DENSITIES[1, :40] = 0
DENSITIES[2, :450] = 0
DECODER = random.normal(size=(60, 8)).astype(np.float32)
OTHER = random.normal(size=(50, 8)).astype(np.float32)
LOSSES = {
    "source": np.array([3.0, 3.1]),
    "with_reconstruction": np.array([3.2, 3.4]),
    "with_zero_ablation": np.array([4.0, 90.0]),
}
ERRORS = {kind: np.array([0.1, 0.2]) for kind in LOSSES}
NAMES = ("block_0", "block_1", "block_2")


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    yield
    plt.close("all")


def drawn(ax):
    """Draw the figure, so that all that may warn does, and return the axes."""
    ax.figure.canvas.draw()
    return ax


def stairs(ax):
    return [patch.get_data() for patch in ax.patches if hasattr(patch, "get_data")]


def texts(ax):
    return [text.get_text() for text in ax.texts]


def bars(ax):
    return [patch for patch in ax.patches if isinstance(patch, matplotlib.patches.Rectangle)]


EVERY = {
    "density_histogram": lambda **to: plot.density_histogram(DENSITIES, NAMES, **to),
    "dead_features_over_time": lambda **to: plot.dead_features_over_time([1, 2], [3, 4], **to),
    "l0_histogram": lambda **to: plot.l0_histogram([0, 1, 2], **to),
    "pareto": lambda **to: plot.pareto([1, 2], [3, 4], [0.1, 0.1], [0.2, 0.3], ["a", "b"], **to),
    "loss_bars": lambda **to: plot.loss_bars(LOSSES, ERRORS, **to),
    "activation_histogram": lambda **to: plot.activation_histogram([1.0], [(1.0, "a")], **to),
    "decoder_similarity_histogram": lambda **to: plot.decoder_similarity_histogram(DECODER, **to),
}


def test_every_function_is_tested():
    assert EVERY.keys() == {name for name in vars(plot) if callable(getattr(plot, name))}


@pytest.mark.parametrize("name", EVERY)
def test_a_figure_leaves_the_settings_as_they_are(name):
    before = dict(matplotlib.rcParams)
    ax = drawn(EVERY[name]())
    assert dict(matplotlib.rcParams) == before
    assert ax.figure.get_figwidth() == 3.4
    assert ax.figure.get_constrained_layout()
    assert ax.get_xlabel()
    assert ax.get_title() == ""
    assert {label.get_size() for label in ax.get_xticklabels()} == {7.0}


@pytest.mark.parametrize("name", EVERY)
def test_axes_that_are_given_are_drawn_on(name):
    figure, (left, right) = plt.subplots(1, 2)
    assert drawn(EVERY[name](ax=right)) is right
    assert right.has_data()
    assert not left.has_data()
    assert plt.get_fignums() == [figure.number]


def test_densities_of_components():
    ax = drawn(plot.density_histogram(jnp.asarray(DENSITIES), NAMES))
    for (values, edges, _), row in zip(stairs(ax), np.float32(DENSITIES), strict=True):
        found = np.histogram(np.log10(row[row > 0].astype(np.float64)), edges)[0]
        np.testing.assert_array_equal(values, found)
        assert values.sum() == np.sum(row > 0)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(NAMES)
    assert {"0", "40", "450", "dense"} <= {*texts(ax)}
    heights = [bar.get_height() for bar in bars(ax)]
    assert heights[:2] == [0, 40]
    assert heights[2] < 450  # cut off, and marked: a stroke across it
    assert len(ax.lines) == 2


def test_a_mapping_of_densities_is_the_same():
    ax = plot.density_histogram(dict(zip(NAMES, DENSITIES, strict=True)))
    other = plot.density_histogram(DENSITIES, NAMES)
    for one, another in zip(stairs(ax), stairs(other), strict=True):
        np.testing.assert_array_equal(one[0], another[0])


@pytest.mark.parametrize("densities", [[0.0, 0.0], [1.0], [1e-30, 1.0]])
def test_extreme_densities(densities):
    ax = drawn(plot.density_histogram(densities))
    assert stairs(ax)[0][0].sum() == np.count_nonzero(densities)


@pytest.mark.parametrize("shape", [(20,), (20, 1), (20, 6), (20, 9)])
def test_dead_features_over_time(shape):
    counts = random.integers(0, 100, shape)
    ax = drawn(plot.dead_features_over_time(np.arange(20) * 1e6, jnp.asarray(counts)))
    lines = np.stack([line.get_ydata() for line in ax.lines], 1)
    np.testing.assert_array_equal(lines, counts.reshape(20, -1))
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), np.arange(20) * 1e6)
    number = lines.shape[1]
    labels = [f"component {i}" for i in range(number)] if 1 < number <= 6 else []
    assert [text for text in texts(ax) if text] == labels
    assert (ax.get_legend() is not None) == (number > 6)


def test_labels_at_the_ends_of_lines_do_not_overlap():
    ax = plot.dead_features_over_time([0, 1], np.tile([[0], [100]], 6))
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts if text.get_text()]
    boxes.sort(key=lambda box: box.y0)
    assert all(one.y1 <= other.y0 for one, other in itertools.pairwise(boxes))


def test_runs_are_joined_in_order_of_l0():
    l0, score = np.array([40.0, 10, 20, 80]), np.array([0.9, 0.7, 0.8, 0.95])
    x_errors, y_errors = np.array([1.0, 2, 3, 4]), np.array([0.01, 0.02, 0.03, 0.04])
    series = ["a", "a", "b", "b"]
    ax = drawn(plot.pareto(l0, score, x_errors, y_errors, series, score_label="$ won"))
    for container, runs in zip(ax.containers, ([1, 0], [2, 3]), strict=True):
        line, _, (x_bars, y_bars) = container.lines
        np.testing.assert_array_equal(line.get_xdata(), l0[runs])
        np.testing.assert_array_equal(line.get_ydata(), score[runs])
        for segments, at, errors, axis in (
            (x_bars.get_segments(), l0, x_errors, 0),
            (y_bars.get_segments(), score, y_errors, 1),
        ):
            found = np.stack(segments)[:, :, axis]
            np.testing.assert_allclose(found[:, 0], (at - 1.96 * errors)[runs])
            np.testing.assert_allclose(found[:, 1], (at + 1.96 * errors)[runs])
    assert ax.get_xscale() == "log"
    assert ax.get_ylabel() == r"\$ won (bars: 95%)"


def test_runs_without_series_are_not_joined():
    ax = drawn(plot.pareto([1, 2], [3, 4]))
    assert ax.lines[0].get_linestyle() == "None"
    assert ax.get_legend() is None


def test_less_than_a_decade_of_l0_has_ticks_too():
    ax = drawn(plot.pareto([8, 16, 32], [0.9, 0.95, 0.99]))
    low, high = ax.get_xlim()
    assert [place for place in ax.get_xticks() if low <= place <= high] == [10, 20, 30]


def test_the_legend_of_many_runs_stands_above_them():
    scores = np.linspace(0.9, 0.99, 12)
    names = [f"JumpReLU_{index}" for index in range(12)]
    ax = drawn(plot.pareto(np.arange(10, 22), scores, series=names))
    points = ax.transData.transform([(21, scores.max())])
    assert ax.get_legend().get_window_extent().y0 > points[0, 1]


def check_losses(ax):
    """Bars and their errors are LOSSES and ERRORS; what is far longer is cut off."""
    values = np.concatenate([*LOSSES.values()])
    cut = values > 2 * 3.4
    lengths = np.array([bar.get_width() for bar in bars(ax)])
    np.testing.assert_allclose(lengths[~cut], values[~cut])
    np.testing.assert_allclose(lengths[cut], 2 * 3.4)
    assert texts(ax) == ["3.000", "3.100", "3.200", "3.400", "4.000", "90.00"]
    assert ax.get_xlim()[1] < 9
    segments = np.concatenate([np.stack(each.get_segments()) for each in ax.collections])
    errors = np.where(cut, 0, 1.96 * np.concatenate([*ERRORS.values()]))
    np.testing.assert_allclose(np.ptp(segments[:, :, 0], axis=1), 2 * errors, atol=1e-12)


def test_losses():
    ax = drawn(plot.loss_bars(LOSSES, ERRORS, ("one", "two")))
    check_losses(ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["one", "two"]
    assert ax.get_xlabel() == "loss (nats per token; bars: 95%)"


def evaluation(**results):
    """A result of two components, with an error that is a tenth of each value."""
    names = ("one", "two")
    values = {
        f"{result}/{name}": row[index]
        for result, row in results.items()
        for index, name in enumerate(names)
    }
    errors = {name: value / 10 for name, value in values.items()}
    return types.SimpleNamespace(names=names, values=values, errors=errors)


def test_losses_of_an_evaluation():
    result = evaluation(**{f"ce_loss/{kind}": row for kind, row in LOSSES.items()})
    errors = {kind: np.asarray(row) / 10 for kind, row in LOSSES.items()}
    one, other = drawn(plot.loss_bars(result)), drawn(plot.loss_bars(LOSSES, errors))
    assert [bar.get_width() for bar in bars(one)] == [bar.get_width() for bar in bars(other)]
    assert [label.get_text() for label in one.get_yticklabels()] == ["one", "two"]


def test_runs_of_an_evaluation_are_labelled():
    ax = drawn(plot.pareto(evaluation(l0=[20, 40], ce_loss_score=[0.8, 0.9])))
    assert [text.get_text() for text in ax.texts] == ["one", "two"]
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [[20, 0.8], [40, 0.9]])
    ax = drawn(plot.pareto(evaluation(l0=[20, 40], ce_loss_score=[0.8, 0.9]), series=["a", "a"]))
    assert not ax.texts
    result = evaluation(l0=[20, 40], explained_variance=[0.6, 0.7])
    ax = drawn(plot.pareto(result, "explained_variance"))
    assert ax.get_ylabel() == "explained_variance (bars: 95%)"
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [[20, 0.6], [40, 0.7]])
    with pytest.raises(ValueError, match=r"has no 'ce_loss_score/one'\. It has l0\."):
        plot.pareto(evaluation(l0=[20, 40]))


def test_densities_of_an_evaluation():
    metric = jsm.MetricCollection({"feature_density": jsm.FeatureDensity(3)})
    state = metric.update(metric.init(), learned_activations=jnp.array([[1.0, 0, 0], [1, 1, 0]]))
    ax = drawn(plot.density_histogram(Evaluation(metric, state)))
    assert sum(data.values.sum() for data in stairs(ax)) == 2


def test_an_error_that_is_not_known_is_not_drawn():
    unknown = {kind: np.full(2, np.nan) for kind in LOSSES}
    ax = drawn(plot.loss_bars(LOSSES, unknown))
    assert len(bars(ax)) == 6


def test_activations_of_one_feature():
    activations = random.normal(size=(30, 20))
    ax = drawn(plot.activation_histogram(jnp.asarray(activations)))
    ((values, edges, _),) = stairs(ax)
    positive = np.float32(activations)[activations > 0]
    np.testing.assert_array_equal(values, np.histogram(positive, edges)[0])
    assert values.sum() == positive.size
    assert ax.get_yscale() == "log"


EXAMPLES = [(2.0, "costs $5\nor $6"), (1.9, "a" * 200), (1.8, "\x1b\t"), (1, ""), (1, "_"), (0, "")]


@pytest.mark.parametrize("examples", [EXAMPLES, iter(EXAMPLES)], ids=["a list", "an iterator"])
def test_texts_of_examples(examples):
    ax = drawn(plot.activation_histogram([1.0, 2.0], examples))
    shown = texts(ax)
    assert shown[:2] == ["2", r"costs \$5⏎or \$6"]
    assert len(shown[3]) < 60
    assert shown[3].endswith("a…")
    assert shown[5] == r"\x1b⇥"
    assert len(shown) == 10
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [2.0, 1.9, 1.8, 1, 1])


def test_examples_in_a_mapping():
    assert texts(plot.activation_histogram([1.0], {1.0: "a"})) == ["1", "a"]


def cosines(a, b):
    a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b))
    return a @ b.T


def test_nearest_other_features():
    decoder = np.concatenate([DECODER, np.zeros((2, 8), np.float32)])
    ax = drawn(plot.decoder_similarity_histogram(decoder))
    ((values, edges, _),) = stairs(ax)
    nearest = (cosines(DECODER, DECODER) - 2 * np.eye(60)).max(1)
    np.testing.assert_array_equal(values, np.histogram(nearest, edges)[0])
    assert texts(ax) == ["without direction: 2"]


def test_best_matches_in_another_dictionary():
    ((values, edges, _),) = stairs(drawn(plot.decoder_similarity_histogram(DECODER, OTHER)))
    np.testing.assert_array_equal(values, np.histogram(cosines(DECODER, OTHER).max(1), edges)[0])


@pytest.mark.parametrize("edges", [None, [0, 1, 2, 4, 8, 16]])
def test_portions_of_l0(edges):
    counts = np.array([[0, 1, 3, 0, 0], [0, 0, 2, 2, 0]])
    ax = drawn(plot.l0_histogram(counts, edges))
    expected = np.arange(6) - 0.5 if edges is None else np.array(edges)
    for (values, found, _), row in zip(stairs(ax), counts, strict=True):
        np.testing.assert_allclose(values, row[1:4] / row.sum())
        np.testing.assert_array_equal(found, expected[1:5])


def test_pairs_are_drawn_as_their_values():
    learned = jnp.asarray(random.normal(size=(50, 2, 16)).astype(np.float32))
    losses = {"source_model_loss": jnp.ones((9, 2)) + jnp.arange(9.0)[:, None]}
    losses["source_model_loss_with_reconstruction"] = losses["source_model_loss"] + 0.1
    losses["source_model_loss_with_zero_ablation"] = losses["source_model_loss"] + 5
    learned_and = {"learned_activations": learned}
    for function, metric, inputs in (
        (plot.density_histogram, jsm.FeatureDensity(16, 2), learned_and),
        (plot.l0_histogram, jsm.L0Histogram(16, 2), learned_and),
        (plot.loss_bars, jsm.ModelLoss(2), losses),
    ):
        state = metric.update(metric.init(), **inputs)
        value = metric.compute(state)
        ax, other = (drawn(function(given)) for given in ((metric, state), value))
        for one, another in zip(stairs(ax), stairs(other), strict=True):
            np.testing.assert_array_equal(one[0], another[0])
        assert [b.get_bbox().bounds for b in bars(ax)] == [b.get_bbox().bounds for b in bars(other)]
    segments = [np.ptp(np.stack(each.get_segments())[..., 0], axis=1) for each in ax.collections]
    errors = [metric.standard_error(state)[kind] for kind in value]
    np.testing.assert_allclose(np.stack(segments), 2 * 1.96 * np.stack(errors), rtol=1e-5)


@pytest.mark.parametrize(
    ("function", "metric"),
    [
        (plot.density_histogram, jsm.FeatureDensity(4, 2)),
        (plot.l0_histogram, jsm.L0Histogram(4, 2)),
    ],
)
def test_components_that_a_metric_names_keep_their_names(function, metric):
    named = jsm.PerComponent(metric, ("_one", "two"))
    state = named.update(named.init(), learned_activations=jnp.ones((3, 2, 4)))
    legend = drawn(function((named, state))).get_legend()
    assert [text.get_text().strip() for text in legend.get_texts()] == ["_one", "two"]


WRONG = {
    "no numbers": (plot.density_histogram, ["many"], TypeError, "densities: expected an array"),
    "no axis": (plot.density_histogram, [0.5], ValueError, "[component?, feature], not empty"),
    "axes": (plot.density_histogram, [np.ones((1, 2, 3))], ValueError, "got (1, 2, 3)"),
    "nothing seen": (plot.density_histogram, [[np.nan]], ValueError, "update its state first"),
    "counts": (plot.density_histogram, [[7.0]], ValueError, "Divide counts by the number"),
    "few names": (plot.density_histogram, [DENSITIES, ["a"]], ValueError, "3 different names"),
    "equal names": (plot.density_histogram, [DENSITIES, "aaa"], ValueError, "different names"),
    "names twice": (plot.density_histogram, [{"a": [1]}, ["a"]], ValueError, "leave it out"),
    "no component": (plot.density_histogram, [{}], ValueError, "at least one component"),
    "times": (plot.dead_features_over_time, [[1, 2], [3]], ValueError, "expected 2 rows"),
    "no times": (plot.dead_features_over_time, [[], []], ValueError, "tokens_seen: expected"),
    "bins": (plot.l0_histogram, [{"a": [1], "b": [1, 2]}], ValueError, "as many bins"),
    "edges": (plot.l0_histogram, [[1, 2], [0, 1]], ValueError, "expected 3 increasing"),
    "falling": (plot.l0_histogram, [[1, 2], [0, 2, 1]], ValueError, "expected 3 increasing"),
    "no vectors": (plot.l0_histogram, [[0, 0]], ValueError, "Update the state"),
    "scores": (plot.pareto, [[1, 2], [1]], ValueError, "score: expected 2 numbers"),
    "zero": (plot.pareto, [[0], [1]], ValueError, "Leave out runs without"),
    "errors": (plot.pareto, [[1], [1], [-1]], ValueError, "l0_errors: expected standard errors"),
    "series": (plot.pareto, [[1, 2], [1, 2], None, None, ["a"]], ValueError, "expected 2 names"),
    "no mapping": (plot.loss_bars, [[1.0]], TypeError, "losses: expected a mapping of source"),
    "kinds": (plot.loss_bars, [{"source": 1.0}], ValueError, "losses: expected source, with_"),
    "shapes": (plot.loss_bars, [LOSSES | {"source": 1.0}], ValueError, "the same components"),
    "of errors": (plot.loss_bars, [LOSSES, LOSSES | {"source": 1.0}], ValueError, "got shapes"),
    "no firing": (plot.activation_histogram, [[0.0]], ValueError, "This feature never fired"),
    "no pairs": (plot.activation_histogram, [[1.0], ["text"]], TypeError, "expected pairs of"),
    "one row": (plot.decoder_similarity_histogram, [DECODER[:1]], ValueError, "a single row"),
    "widths": (plot.decoder_similarity_histogram, [DECODER, DECODER.T], ValueError, "decoder and"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said(name):
    function, arguments, error, says = WRONG[name]
    with pytest.raises(error, match=re.escape(says)):
        function(*arguments)
    assert plt.get_fignums() == []


def test_without_matplotlib():
    code = """
import sys
import jax_sae_metrics
assert "matplotlib" not in sys.modules
sys.modules["matplotlib"] = None
try:
    import jax_sae_metrics.plot
except ImportError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "jax_sae_metrics[plot]"' in run.stdout
