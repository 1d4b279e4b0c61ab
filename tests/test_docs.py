"""The code of the guides runs, and the Chinese pages show the same."""

import ast
import importlib
import re
import textwrap
from pathlib import Path

import pytest

import keraslm

DOCS = Path(keraslm.__file__).parent.parent / "docs"
RUN = ("generation", "tasks", "training")  # from top to bottom, each page as one program
SAME = (*RUN, "design")

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="no source checkout")


def code_of(page):
    """The code of a page, block by block, without diffs and what is for a shell."""
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def bare(block):
    """Code without comments and strings, which are in the language of the page."""
    return re.sub(r"\s+", "", re.sub(r"#[^\n]*|[\"'][^\n\"']*[\"']", "", block))


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_the_code_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = code_of(page)
    assert len(blocks) > 2
    names = {"__name__": "__main__"}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{page}.md, block {number}", "exec"), names)


@pytest.mark.parametrize("page", SAME)
def test_the_chinese_page_has_the_same_code(page):
    assert [bare(b) for b in code_of(f"{page}.zh")] == [bare(b) for b in code_of(page)]


def test_links_between_pages_lead_somewhere():
    def anchor(heading):
        heading = re.sub(r"[^\w\s-]", "", heading.strip().lower())
        return heading.replace(" ", "-")

    broken = []
    for page in sorted([*DOCS.glob("*.md"), *DOCS.parent.glob("*.md")]):
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
            name, _, place = target.partition("#")
            file = page.parent / name if name else page
            if not file.exists():
                broken.append(f"{page.name}: {target}")
            elif place:
                headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
                if place not in {anchor(heading) for heading in headings}:
                    broken.append(f"{page.name}: {target}")
    assert broken == []


PAGES = sorted([*DOCS.glob("*.md"), *DOCS.parent.glob("*.md")])


# The worked examples of the design add modules: tests/test_design.py runs them.
CHECKED = [page for page in PAGES if not page.name.startswith("design")]


@pytest.mark.parametrize("page", CHECKED, ids=lambda page: page.name)
def test_code_of_every_page_compiles_and_names_what_there_is(page):
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(textwrap.dedent(block))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("keraslm"):
                module = importlib.import_module(node.module)
                missing = [a.name for a in node.names if not _has(module, a.name)]
                assert not missing, f"{node.module} has no {missing}"
            if isinstance(node, ast.Attribute) and re.fullmatch(
                r"keraslm(\.\w+)+", ast.unparse(node)
            ):
                value = keraslm
                for name in ast.unparse(node).split(".")[1:]:
                    assert _has(value, name), f"{ast.unparse(node)}: no {name}"
                    value = getattr(value, name)


def _has(module, name):
    try:
        return hasattr(module, name) or bool(importlib.import_module(f"{module.__name__}.{name}"))
    except ModuleNotFoundError:
        return False


def test_every_guide_is_in_the_navigation_and_in_both_languages():
    navigation = re.findall(r": ([\w-]+\.md)$", (DOCS.parent / "mkdocs.yml").read_text(), re.M)
    english = {page.name for page in DOCS.glob("*.md") if ".zh" not in page.name}
    assert sorted(english) == sorted(navigation)
    assert {page.with_suffix("").name for page in DOCS.glob("*.zh.md")} == {
        name.replace(".md", ".zh") for name in english
    }
