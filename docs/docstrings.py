"""How griffe reads our docstrings: ``Example``, ``Call arguments``, options that are declared."""

import ast
import re

import griffe

# What a heading of ours is to griffe; a section may have a title of its own.
HEADINGS = {"Example:": "Examples:", "Call arguments:": "Args: Call arguments:"}


class Keraslm(griffe.Extension):
    """Named in mkdocs.yml."""

    def on_object(self, *, obj, **_):
        """Headings in griffe's spelling."""
        if obj.docstring is not None:
            for ours, theirs in HEADINGS.items():
                pattern = rf"^(\s*){re.escape(ours)}$"
                obj.docstring.value = re.sub(
                    pattern, rf"\1{theirs}", obj.docstring.value, flags=re.MULTILINE
                )

    def on_attribute_instance(self, *, attr, **_):
        """Fields like ``d_model: int = option(REQUIRED, positive, "Width of …")``."""
        value = str(attr.value or "")
        if not value.startswith("option("):
            return
        arguments = ast.parse(value, mode="eval").body.args
        attr.value = ast.unparse(arguments[0])
        meaning = arguments[2:] and arguments[2]
        if isinstance(meaning, ast.Constant) and attr.docstring is None:
            attr.docstring = griffe.Docstring(meaning.value, parent=attr)
