"""A page that shows a result: one file, which asks the network for nothing."""

import html
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .definitions import definitions
from .figures import figures

if TYPE_CHECKING:
    from .result import Evaluation

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --page: #ffffff; --line: #d0d0d0;
  --soft: #f4f4f4; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --page: #161616; --line: #444444; --soft: #232323; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem 1rem 4rem; color: var(--ink);
  background: var(--page); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { margin-top: 2.5rem; font-size: 1.25rem; }
h3 { font-size: 1rem; margin: 2rem 0 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .8125rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .5rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0;
  background: var(--page); padding-left: 0; }
.figures { display: grid; gap: 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); }
figure { margin: 0; } figcaption { font-size: .875rem; }
figure svg { width: 100%; height: auto; background: white; border-radius: 4px; }
code { background: var(--soft); padding: .1em .3em; font-size: .85em; }
details { border-left: 3px solid var(--line); padding-left: .75rem; margin: .5rem 0; }
summary { cursor: pointer; }
.math.block { overflow-x: auto; overflow-y: hidden; }
@media (max-width: 40rem) {
  th:first-child, td:first-child { white-space: normal; min-width: 8rem; overflow-wrap: normal; }
}
"""


def page(result: "Evaluation", title: str) -> str:
    """The whole page."""
    drawn = "".join(
        f"<figure>{svg}<figcaption>{html.escape(caption)}</figcaption></figure>"
        for caption, svg in figures(result).items()
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{html.escape(title)}</h1>
<h2>Results</h2>
<p>Values ± one standard error{_over(result.about)}. A number without an error has none that is
known, or one below its seventh digit.</p>
<div class="wide">{result._repr_html_()}</div>
{_differences(result)}
{f'<h2>Figures</h2><div class="figures">{drawn}</div>' if drawn else ""}
<h2>Definitions</h2>
{definitions(result.metric, result.state)}
<h2>About this run</h2>
{_about(result.about)}
</body>
</html>
"""


def _over(about: Mapping[str, str]) -> str:
    units = about.get("errors are over")
    return f", over {html.escape(units)}" if units else ""


def _differences(result: "Evaluation") -> str:
    if len(result.names) < 2:
        return ""
    return f"""<h2>Differences</h2>
<p>Of components on the same items, ± one standard error of the difference. It is smaller than the
errors of both suggest, as far as both find the same items hard.</p>
<div class="wide">{result._differences().to_html()}</div>"""


def _about(about: Mapping[str, str]) -> str:
    rows = (
        f"<tr><td>{html.escape(str(name))}</td><td>{html.escape(str(value))}</td></tr>"
        for name, value in about.items()
    )
    return f'<div class="wide"><table class="about">{"".join(rows)}</table></div>'
