"""Public names are documented: the build fails where a reader would be left alone."""

import collections
import doctest
import inspect
import pathlib
import re

import pytest

import jax_sae_metrics as jsm
from jax_sae_metrics import evaluation, plot

PUBLIC = {
    name: value
    for name, value in vars(jsm).items()
    if not name.startswith("_") and not inspect.ismodule(value)
}
PLOTS = {name: value for name, value in vars(plot).items() if inspect.isfunction(value)}
FUNCTIONS = PLOTS | {name: value for name, value in PUBLIC.items() if inspect.isfunction(value)}
METRICS = {
    name: value
    for name, value in PUBLIC.items()
    if inspect.isclass(value) and issubclass(value, jsm.AbstractMetric)
}
CONCRETE = {name for name in METRICS if not name.startswith("Abstract")}


def public_methods(cls):
    members = inspect.getmembers(cls, lambda m: inspect.isfunction(m) or inspect.ismethod(m))
    return {name: member for name, member in members if not name.startswith("_")}


API_PAGES = sorted((pathlib.Path(__file__).parents[1] / "docs/api").rglob("*.md"))


def test_every_public_name_is_on_the_api_pages_exactly_once():
    directives = [
        name
        for page in API_PAGES
        for name in re.findall(
            r"^::: jax_sae_metrics\.(\S+)$", page.read_text(), flags=re.MULTILINE
        )
    ]
    of_subpackages = [
        f"{subpackage.__name__.rpartition('.')[2]}.{name}"
        for subpackage in (evaluation, plot)
        for name, value in vars(subpackage).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    ]
    assert collections.Counter(directives) == collections.Counter([*PUBLIC, *of_subpackages])


def test_help_of_the_package_lists_every_public_name_once():
    topics = re.findall(r"^    \S.*$", inspect.getdoc(jsm), flags=re.MULTILINE)
    listed = re.findall(r"\w+", " ".join(topics))
    assert collections.Counter(listed) == collections.Counter(list(PUBLIC))


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_a_docstring(name):
    value = PUBLIC[name]
    assert inspect.getdoc(value)
    if inspect.isclass(value) and value.__module__.startswith("jax_sae_metrics"):
        for method in public_methods(value).values():
            assert inspect.getdoc(method), method


@pytest.mark.parametrize("name", sorted(CONCRETE))
@pytest.mark.parametrize("section", ["**Input", "**Result:**", "**Arguments:**", "**Raises:**"])
def test_every_metric_says_what_it_takes_gives_and_raises(name, section):
    if name == "PerComponent" and section == "**Input":
        section = "State and inputs are those of the metric that is wrapped"
    assert section in inspect.getdoc(METRICS[name])


# Their value is that of other metrics.
WITHOUT_FORMULA = {"MetricCollection", "PerComponent", "Renamed", "Window"}


@pytest.mark.parametrize("name", sorted(CONCRETE - WITHOUT_FORMULA))
def test_every_metric_gives_its_formula_and_what_nothing_gives(name):
    documentation = inspect.getdoc(METRICS[name])
    assert "$$" in documentation
    assert "NaN" in documentation or "0 where nothing was seen" in documentation
    assert "[component?" in documentation


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
@pytest.mark.parametrize("section", ["**Arguments:**", "**Returns:**", "**Raises:**"])
def test_every_function_says_what_it_takes_returns_and_raises(name, section):
    assert section in inspect.getdoc(FUNCTIONS[name])


@pytest.mark.parametrize("name", sorted(METRICS.keys() | FUNCTIONS.keys() | {"Count", "Total"}))
def test_every_metric_and_function_has_an_example(name):
    """The example runs as a doctest of its module."""
    documented = {**PUBLIC, **PLOTS}[name]
    assert doctest.DocTestParser().get_examples(inspect.getdoc(documented))


def test_concrete_metrics_are_final():
    """Concrete metrics have no subclasses, and override none of the derived methods."""
    derived = set(public_methods(jsm.AbstractMetric))
    for name in CONCRETE:
        assert METRICS[name].__subclasses__() == []
        assert not derived & set(vars(METRICS[name])), name
