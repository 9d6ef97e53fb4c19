"""A result is shown in many languages, compared, saved, and reported."""

import html.parser
import json
import re
import shutil
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

import jax_sae_metrics as jsm
from jax_sae_metrics.__main__ import main
from jax_sae_metrics.evaluation import Evaluation
from jax_sae_metrics.evaluation.table import shown

matplotlib.use("Agg")
NAMES, FEATURES = ("block_1", "block_0"), 6
METRIC = jsm.MetricCollection(
    {
        "l0": jsm.PerComponent(jsm.L0Norm(2), NAMES),
        "dead": jsm.DeadFeatures(FEATURES, 2, after_tokens=(1, 2)),
        "feature_density": jsm.PerComponent(jsm.FeatureDensity(FEATURES, 2), NAMES),
        "ce_loss": jsm.PerComponent(jsm.ModelLoss(2), NAMES),
        "ce_loss_score": jsm.PerComponent(jsm.ReconstructionScore(2), NAMES),
        "all": jsm.MetricCollection({"ce_loss_score": jsm.ReconstructionScore()}),
    }
)


def state_of(seed):
    random = np.random.default_rng(seed)
    learned = np.maximum(random.normal(size=(50, 2, FEATURES)) - 1, 0)
    clean = np.repeat(random.uniform(1, 2, size=(50, 1)), 2, axis=1)
    losses = {
        "source_model_loss": clean,
        "source_model_loss_with_reconstruction": clean + random.uniform(size=(50, 2)),
        "source_model_loss_with_zero_ablation": clean + 4,
    }
    of_components = dict(METRIC.metrics)
    of_all = of_components.pop("all")
    metric = jsm.MetricCollection(of_components)
    inputs = jax.tree.map(jnp.float32, {"learned_activations": learned} | losses)
    state = jax.jit(metric.update)(metric.init(), **inputs)
    inputs_of_all = {name: inputs[name][:, 0] for name in losses}
    state_of_all = jax.jit(of_all.update)(of_all.init(), **inputs_of_all)
    return METRIC.merge(METRIC.init(), {**state, "all": state_of_all})


@pytest.fixture(scope="module")
def result():
    about = {"seed": "0", "command": "train.py --name '<b>'"}
    return Evaluation(METRIC, state_of(0), about)


@pytest.fixture(scope="module")
def report(result):
    return result.report("Two & more")


def test_values_have_the_names_of_their_metrics_and_components(result):
    values = METRIC.compute(result.state)
    for name in ("l0/block_0", "ce_loss/source/block_1", "ce_loss_score/mean", "all/ce_loss_score"):
        assert result.values[name] == pytest.approx(float(values[name]))
    for index, after in enumerate((1, 2)):
        for component, name in enumerate(NAMES):
            wanted = int(values["dead"][component, index])
            assert result.values[f"dead/{name}/{after}"] == wanted
    errors = METRIC.standard_error(result.state)
    assert result.errors["l0/block_0"] == pytest.approx(float(errors["l0/block_0"]))


def test_the_table_has_a_row_for_each_result_and_a_column_for_each_component(result):
    lines = str(result).splitlines()
    assert lines[0].split() == [*NAMES, "mean", "all"]
    ends = {lines[0].index(name) + len(name) for name in ("mean", "all")}
    assert {len(line) for line in lines} == ends
    rows = [line.split()[0] for line in lines[1:]]
    assert rows == [
        *("l0", "dead/1", "dead/2", "ce_loss/source", "ce_loss/with_reconstruction"),
        *("ce_loss/with_zero_ablation", "ce_loss_score", "all/ce_loss_score"),
    ]
    l0 = f"{result.values['l0/block_1']:.2f} ± {result.errors['l0/block_1']:.2f}"
    assert l0 in lines[1]
    assert result._repr_html_().count("<tr>") == len(lines)
    assert len(result.to_markdown().splitlines()) == len(lines) + 1
    assert r"all/ce\_loss\_score" in result.to_latex()
    chosen = result.to_latex("ce_loss_score", "l0").splitlines()
    assert [line.split(" & ")[0] for line in chosen if " & " in line] == [
        *("", r"ce\_loss\_score", "l0")
    ]
    with pytest.raises(ValueError, match="'l1': expected one of the results"):
        result.to_markdown("l1")
    assert json.loads(result.to_json())["l0/block_1"]["value"] == result.values["l0/block_1"]


def test_a_metric_without_components_has_one_column():
    metric = jsm.MetricCollection({"l0": jsm.L0Norm(), "density/mean": jsm.L0Norm()})
    assert str(Evaluation(metric, metric.init())).split() == [
        *("value", "l0", "nan", "density/mean", "nan")
    ]


@pytest.mark.parametrize(
    ("value", "error", "wanted"),
    [
        (1.23456, 0.0123, "1.235 ± 0.012"),
        (123456.0, 2345.0, "123456 ± 2345"),
        (2.397895, 4.4e-8, "2.398"),
        (-0.0446, 0.11, "-0.04 ± 0.11"),
        (0.0, 0.01, "0.000 ± 0.010"),
        (0.123456, None, "0.1235"),
        (0.5, 0.0, "0.5"),
        (float("nan"), float("nan"), "nan"),
    ],
)
def test_numbers_have_the_digits_that_their_errors_leave(value, error, wanted):
    assert shown(value, error) == wanted


def test_a_data_frame_has_a_row_for_each_component_and_result(result):
    pytest.importorskip("pandas", reason="pandas is not installed")
    table = result.to_pandas().set_index(["metric", "component"])
    row = table.loc["l0", "block_0"]
    assert row["value"] == result.values["l0/block_0"]
    assert row["standard_error"] == result.errors["l0/block_0"]


def test_two_components_are_compared_as_pairs(result):
    for name, (difference, error) in result.difference(*NAMES).items():
        values, errors = (
            [numbers[f"{name}/{component}"] for component in NAMES]
            for numbers in (result.values, result.errors)
        )
        np.testing.assert_allclose(difference, values[0] - values[1], atol=1e-6)
        # The clean losses of both are the same, and so is the ablated one.
        assert error < np.hypot(*errors) or np.isclose(error, np.hypot(*errors), rtol=0.3)
    assert result.difference(*NAMES)["ce_loss/source"] == (0, 0)
    with pytest.raises(ValueError, match="'third': expected one of the components"):
        result.difference("block_0", "third")


def test_two_results_are_compared_as_independent(result):
    other = Evaluation(METRIC, state_of(1))
    difference, error = result.difference_from(other)["l0/block_0"]
    assert difference == result.values["l0/block_0"] - other.values["l0/block_0"]
    assert error == np.hypot(result.errors["l0/block_0"], other.errors["l0/block_0"])
    assert "l0/mean" in result.difference_from(other)
    fewer = jsm.MetricCollection({"l0": jsm.PerComponent(jsm.L0Norm(1), ("block_0",))})
    assert [*result.difference_from(Evaluation(fewer, fewer.init()))] == ["l0/block_0"]
    l0 = Evaluation(jsm.L0Norm(), jsm.L0Norm().init())
    with pytest.raises(ValueError, match="no number is in both"):
        result.difference_from(l0)
    with pytest.raises(TypeError, match="expected an Evaluation, got 3"):
        result.difference_from(3)


def test_a_result_is_saved_and_loaded(result, tmp_path):
    path = tmp_path / "result.npz"
    result.save(path)
    again = Evaluation.load(path)
    assert (again.metric, again.about) == (METRIC, result.about)
    for one, other in zip(*map(jax.tree.leaves, (again.state, result.state)), strict=True):
        np.testing.assert_array_equal(one, other)
    with np.load(path) as arrays:  # and nothing in it needs pickle
        assert all(arrays[name].dtype != object for name in arrays)


def test_a_state_dict_in_a_file_is_loaded(result, tmp_path):
    path = tmp_path / "states.npz"
    np.savez(path, **METRIC.state_dict(result.state))
    assert Evaluation.load(path).values == pytest.approx(result.values, nan_ok=True)


class OfMine(jsm.AbstractMean):
    """A metric that the library does not know."""

    num_components: int | None = eqx.field(static=True, default=None)

    def _observe(self, batch):
        learned = batch.learned_activations
        return learned.items, learned.sum_per_vector(jnp.abs)


def test_a_metric_of_ones_own_is_passed(tmp_path):
    path = tmp_path / "states.npz"
    Evaluation(OfMine(), OfMine().init()).save(path)
    with pytest.raises(ValueError, match="OfMine is not a metric of this library"):
        Evaluation.load(path)
    assert Evaluation.load(path, OfMine()).metric == OfMine()


class Runs:
    """An object that a pickle would run a command for."""

    def __reduce__(self):
        return print, ("run",)


FILES = {
    "no archive": (lambda path: path.write_bytes(b"text"), "not a zip file"),
    "a command": (
        lambda path: np.savez(path, state=np.array({"a": Runs()}, object)),
        "builtins.print, which is not an array",
    ),
    "other arrays": (lambda path: np.savez(path, x=np.ones(2)), "does not say what metric"),
}


@pytest.mark.parametrize(("write", "says"), FILES.values(), ids=FILES)
def test_other_files_are_refused(write, says, tmp_path, capsys):
    path = tmp_path / "states.npz"
    write(path)
    with pytest.raises(ValueError, match=says):
        Evaluation.load(path)
    assert not capsys.readouterr().out


class Page(html.parser.HTMLParser):
    """The elements of a page, and whether each is closed where it should be."""

    VOID = ("meta", "wbr", "br", "hr", "img")

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.links, self.text = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_a_report_is_one_file_with_a_table_figures_and_definitions(report):
    page = Page(report)
    assert page.seen.count("section") == 6  # one for each metric
    assert page.seen.count("svg") == 3  # densities, losses, score against L0
    assert page.seen.count("math") > 20
    assert not {"script", "link", "img", "iframe"} & {*page.seen}
    # Citations lead elsewhere. Figures refer to parts of themselves.
    assert all(link.startswith(("#", "https://")) for link in page.links)
    text = "".join(page.text)
    for shown_text in (
        "Two & more",
        "train.py --name '<b>'",
        "ReconstructionScore(num_components=2",
    ):
        assert shown_text in text
    assert "$" not in text
    assert "\\" not in text


def test_a_report_without_anything_to_draw_has_no_figures():
    report = Evaluation(jsm.L0Norm(), jsm.L0Norm().init()).report()
    assert "Figures" not in report
    Page(report)


def test_a_result_is_drawn_in_one_figure(result):
    figure = result.plot()
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["Density of features", "Loss of the model", "Sparsity and score"]
    plt.close(figure)
    with pytest.raises(ValueError, match="nothing to draw"):
        Evaluation(METRIC, METRIC.init()).plot()


def test_a_figure_of_many_components_is_high_enough_for_their_losses():
    metric = jsm.MetricCollection({"ce_loss": jsm.ModelLoss(12)})
    losses = jnp.ones((4, 12))
    state = metric.update(
        metric.init(),
        source_model_loss=losses,
        source_model_loss_with_reconstruction=losses,
        source_model_loss_with_zero_ablation=losses,
    )
    result = Evaluation(metric, state)
    figure = result.plot()
    assert figure.get_figheight() > 5
    plt.close(figure)
    height = float(re.search(r'<svg [^>]*height="([0-9.]+)pt"', result.report()).group(1))
    assert height > 5 * 72


def test_the_command_writes_the_report(result, tmp_path, capsys):
    states, output = tmp_path / "states.npz", tmp_path / "report.html"
    result.save(states)
    main(["report", str(states), "-o", str(output), "--title", "Two & more"])
    assert output.read_text("utf-8").startswith("<!DOCTYPE html>")
    assert str(output) in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"error: .*missing\.npz"):
        main(["report", str(tmp_path / "missing.npz")])


@pytest.mark.exhaustive
def test_the_command_runs_as_a_module(result, tmp_path):
    states = tmp_path / "states.npz"
    result.save(states)
    command = [sys.executable, "-m", "jax_sae_metrics", "report", str(states)]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert (tmp_path / "report.html").exists()


MEASURE = """<script>
document.title = `${document.documentElement.scrollWidth - innerWidth} wider than the window`;
</script></body>"""


@pytest.mark.exhaustive
@pytest.mark.parametrize("width", [500, 1280])
def test_a_browser_shows_the_report_without_errors(report, width, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("neither chromium nor google-chrome is installed")
    path = tmp_path / "report.html"
    path.write_text(report.replace("</body>", MEASURE), encoding="utf-8")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command += [f"--window-size={width},900", "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "CONSOLE" not in done.stderr
    wider = int(done.stdout.split("<title>")[1].split(" wider")[0])
    assert wider <= 0
