"""Every block of Python in the README and the pages runs, and what they point to is there."""

import os
import pathlib
import re
import tomllib

import jax
import pytest

from selection import all_of

ROOT = pathlib.Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
}
FENCED = re.compile(r"^ *```(\w*).*?\n(.*?)^ *```", flags=re.DOTALL | re.MULTILINE)


def blocks(page, language):
    return [code for name, code in FENCED.findall(page) if name == language]


def run(page):
    """Run the blocks of one page in order, as one program."""
    namespace = {"__name__": "page"}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for number, block in enumerate(blocks(page, "python")):
            exec(compile(block, f"block {number}", "exec"), namespace)


def anchors(page):
    """The anchors of the headings, and of the names on an API page."""
    text = FENCED.sub("", page)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    words = (re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings)
    names = re.findall(r"^::: (\S+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", heading) for heading in words} | set(names)


def relative_links(page):
    text = re.sub(r"`[^`]*`", "", FENCED.sub("", page))
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    return [link for link in links if not re.match(r"[a-z]+:", link)]


WITH_CODE = [name for name, page in PAGES.items() if blocks(page, "python")]
LONG = {"docs/definitions.md", "docs/guides/evaluation.md"}


@pytest.mark.parametrize("name", all_of(WITH_CODE, by_default={*WITH_CODE} - LONG))
def test_the_blocks_of_a_page_run(name, capsys):
    run(PAGES[name])
    printed = capsys.readouterr().out
    if name in ("README.md", "docs/index.md"):
        assert printed.startswith("81.")
    if name == "docs/guides/own_metric.md":
        assert printed == "[ 2. nan  2.]\n1\n0.5 +- 0.29\n"


@pytest.mark.parametrize("name", PAGES)
def test_every_block_says_its_language(name):
    languages = {language for language, _ in FENCED.findall(PAGES[name])}
    assert languages <= {"python", "sh", "toml"}


@pytest.mark.parametrize("name", PAGES)
def test_code_fits_beside_the_menu(name):
    lines = "".join(blocks(PAGES[name], "python")).splitlines()
    assert [line for line in lines if len(line) > 88] == []


def test_the_worked_case_of_the_definitions_asserts_its_numbers():
    assert "assert" in "".join(blocks(PAGES["docs/definitions.md"], "python"))


def test_the_readme_is_short():
    assert len(PAGES["README.md"].splitlines()) <= 150


@pytest.mark.parametrize("name", ["pytest", "examples/train_sae.py"])
def test_there_are_exactly_two_set_up_commands(name):
    commands = blocks(PAGES["README.md"], "sh")
    assert len(commands) == 2
    assert sum(name in command for command in commands) == 1
    assert all(command.count("\n") == 1 for command in commands)


@pytest.mark.parametrize("name", PAGES)
def test_relative_links_lead_somewhere(name):
    path = ROOT / name
    for link in relative_links(PAGES[name]):
        file, _, anchor = link.partition("#")
        target = pathlib.Path(os.path.normpath(path.parent / file)) if file else path
        assert target.exists(), link
        if DOCS in path.parents:
            assert DOCS in target.parents, (
                f"{link} is not on the built pages: name the path instead"
            )
        if anchor:
            assert anchor in anchors(target.read_text()), link


def test_every_page_is_in_the_menu():
    """Zensical leaves a missing page out of the menu, and a page out of sight, without a word."""

    def pages(entry):
        if isinstance(entry, str):
            return [entry]
        return [
            p
            for part in (entry if isinstance(entry, list) else entry.values())
            for p in pages(part)
        ]

    menu = pages(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"])
    assert sorted(menu) == sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
