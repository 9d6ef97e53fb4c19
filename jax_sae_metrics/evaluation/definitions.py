"""The definitions in the docstrings of metrics, as HTML."""

import html
import inspect
import re
from collections.abc import Callable
from typing import Any

from .._core import AbstractMetric, MetricCollection, PerComponent
from .._core.constructor_call import constructor_call
from .._extras import needs_extra

with needs_extra("report"):
    from latex2mathml.converter import convert
    from markdown_it import MarkdownIt
    from mdit_py_plugins.dollarmath import dollarmath_plugin

# Where a docstring turns from what a number is to how the metric is called.
_ABOUT_CALLS = re.compile(r"^\*\*(Input|Result|Argument|Return|Raise)", re.MULTILINE)
_NOTE = re.compile(r'^\?\?\? note "(?P<title>.*)"\n+(?P<body>(?:(?: {4}.*)?\n?)*)', re.MULTILINE)


def definitions(metric: AbstractMetric[Any]) -> str:
    """A section for each metric of a collection: what it is called, and what it means."""
    to_html = _markdown()
    return "\n".join(
        f"<section><h3>{html.escape(name)}</h3>{_definition(one, to_html)}</section>"
        for name, one in _by_name(metric).items()
    )


def _by_name(metric: AbstractMetric[Any]) -> dict[str, AbstractMetric[Any]]:
    """The metrics of collections inside of collections, by their whole names."""
    if not isinstance(metric, MetricCollection):
        return {type(_inside(metric)).__name__: metric}
    named: dict[str, AbstractMetric[Any]] = {}
    for name, one in metric.metrics.items():
        is_collection = isinstance(one, MetricCollection)
        inner = _by_name(one) if is_collection else {}
        named |= {f"{name}/{key}": each for key, each in inner.items()} or {name: one}
    return named


def _inside(metric: Any) -> Any:
    """The metric that wrappers are around."""
    return _inside(metric.metric) if hasattr(metric, "metric") else metric


def _without_names(metric: Any) -> Any:
    return metric.metric if isinstance(metric, PerComponent) else metric


def _definition(metric: AbstractMetric[Any], to_html: Callable[[str], str]) -> str:
    text = inspect.getdoc(type(_inside(metric))) or ""
    meaning = _ABOUT_CALLS.split(text)[0]
    notes = "".join(
        f"<details><summary>{html.escape(note['title'])}</summary>"
        f"{to_html(inspect.cleandoc(note['body']))}</details>"
        for note in _NOTE.finditer(text)
    )
    call = html.escape(constructor_call(_without_names(metric)))
    return f"<p><code>{call}</code></p>{to_html(meaning)}{notes}"


def _markdown() -> Callable[[str], str]:
    """A function from Markdown with formulas to HTML with MathML."""

    def formula(tex: str, options: dict[str, Any]) -> str:
        display = "block" if options["display_mode"] else "inline"
        # The converter knows the operator max, and not arg.
        return str(convert(tex.replace(r"\arg\max", r"\text{argmax}"), display=display))

    markdown = MarkdownIt("commonmark", {"html": False})
    return markdown.use(dollarmath_plugin, renderer=formula, double_inline=True).render
