"""Draw `assets/plots.png`: the figure that the blocks of the guide to figures make."""

import pathlib
import re

import matplotlib

matplotlib.use("Agg")

DOCS = pathlib.Path(__file__).parent


def main() -> None:
    """Run the blocks of the guide as one program, and save the figure of eight panels."""
    page = (DOCS / "guides/figures.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    names: dict[str, object] = {}
    exec("".join(blocks), names)
    figure, plot = names["figure"], names["plot"]
    with matplotlib.rc_context(plot.STYLE):
        figure.savefig(DOCS / "assets/plots.png", dpi=110)


if __name__ == "__main__":
    main()
