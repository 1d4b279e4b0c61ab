"""What mkdocs does not do by itself: the reference pages, and links that leave ``docs/``."""

import argparse
import ast
import re
from pathlib import Path

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "keraslm"


def public_names():
    """``{package: names}`` as each ``__all__`` lists them; nothing of ours is imported."""
    found = {}
    for file in sorted(PACKAGE.glob("[a-z]*/__init__.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                found[file.parent.name] = ast.literal_eval(node.value)
    return found


def api_page(package, names):
    """Markdown that mkdocstrings fills from the docstrings."""
    lines = [f"# keraslm.{package}", ""]
    for name in names:
        lines += [f"::: keraslm.{package}.{name}", ""]
    return "\n".join(lines)


def command_page():
    """The help of the command and of all its parts."""
    from keraslm.cli import _parser

    lines = ["# The command keraslm", ""]

    def add(parser, level):
        lines.extend(
            [f"{'#' * level} {parser.prog}", "", "```", parser.format_help().strip(), "```", ""]
        )
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for sub in action.choices.values():
                    add(sub, min(level + 1, 4))

    add(_parser(), 2)
    return "\n".join(lines)


def on_config(config):
    """Put the references into the navigation."""
    pages = [{f"keraslm.{package}": f"api/{package}.md"} for package in public_names()]
    for entry in config.nav:
        if "Reference" in entry:
            entry["Reference"] = [{"Command": "command.md"}, *pages]
    return config


@event_priority(-100)  # after the plugin for languages, which takes files on the disk alone
def on_files(files, config):
    """Make the pages of the references."""
    pages = {f"api/{package}.md": api_page(package, n) for package, n in public_names().items()}
    pages["command.md"] = command_page()
    language = config.plugins["i18n"].current_language
    for name, content in pages.items():
        page = File.generated(config, name, content=content)
        if language != "en":  # the same text, in the navigation of the language
            page.dest_uri = f"{language}/{page.dest_uri}"
        files.append(page)
    return files


def on_page_markdown(markdown, **_):
    """Files outside of ``docs/`` are named, and not linked: the site does not hold them."""
    return re.sub(r"\[([^\]]+)\]\(\.\./([^)]+)\)", _named, markdown)


def _named(match):
    text, path = match[1].strip("`"), match[2]
    return f"`{path}`" if text in path else f"{text} (`{path}`)"
