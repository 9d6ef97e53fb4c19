"""The definitions in the docstrings of metrics, as HTML."""

import html
import inspect
import re
from collections.abc import Callable
from typing import Any

from .._core import AbstractMetric
from .._core.constructor_call import constructor_call
from .._extras import needs_extra
from .places import single_metrics, without_names

with needs_extra("report"):
    from latex2mathml.converter import convert
    from markdown_it import MarkdownIt
    from mdit_py_plugins.dollarmath import dollarmath_plugin

# Where a docstring turns from what a number is to how the metric is called.
_ABOUT_CALLS = re.compile(r"^\*\*(Input|Result|Argument|Return|Raise)", re.MULTILINE)
_NOTE = re.compile(r'^\?\?\? note "(?P<title>.*)"\n+(?P<body>(?:(?: {4}.*)?\n?)*)', re.MULTILINE)


def definitions(metric: AbstractMetric[Any], state: Any) -> str:
    """A section for each metric of a collection: what it is called, and what it means."""
    to_html = _markdown()
    return "\n".join(
        f"<section><h3>{html.escape(name or type(_inside(one)).__name__)}</h3>"
        f"{_definition(without_names(one, of_one)[0], to_html)}</section>"
        for name, one, of_one in single_metrics(metric, state)
    )


def _inside(metric: Any) -> Any:
    """The metric that wrappers are around."""
    return _inside(metric.metric) if hasattr(metric, "metric") else metric


def _definition(metric: AbstractMetric[Any], to_html: Callable[[str], str]) -> str:
    text = inspect.getdoc(type(_inside(metric))) or ""
    meaning = _ABOUT_CALLS.split(text)[0]
    notes = "".join(
        f"<details><summary>{html.escape(note['title'])}</summary>"
        f"{to_html(inspect.cleandoc(note['body']))}</details>"
        for note in _NOTE.finditer(text)
    )
    call = html.escape(constructor_call(metric))
    return f"<p><code>{call}</code></p>{to_html(meaning)}{notes}"


def _markdown() -> Callable[[str], str]:
    """A function from Markdown with formulas to HTML with MathML."""

    def formula(tex: str, options: dict[str, Any]) -> str:
        display = "block" if options["display_mode"] else "inline"
        # The converter knows the operator max, and not arg.
        return str(convert(tex.replace(r"\arg\max", r"\text{argmax}"), display=display))

    markdown = MarkdownIt("commonmark", {"html": False})
    return markdown.use(dollarmath_plugin, renderer=formula, double_inline=True).render
