"""Sphinx extension: the library reference, from `alexnet_lib`'s docstrings.

The directive ``library`` takes a module's name and becomes the module's docstring and the entries
of its public functions and classes, under the names by which they are imported. Docstrings write
`names` in single quotes: those that are public become links, all others code.
"""

import importlib
import inspect
import re

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

import alexnet_lib

QUOTED = re.compile(r"(?<![`:])`([^`]+)`")


def entries(module):
    """Return a reStructuredText line for each public function and class of a module."""
    lines = []
    for name in alexnet_lib._HOMES[module]:
        value = getattr(alexnet_lib, name)
        if inspect.isclass(value):
            lines += [f".. autoclass:: alexnet_lib.{name}", "   :members:", ""]
        elif callable(value):
            lines += [f".. autofunction:: alexnet_lib.{name}", ""]
    return lines


def mark_names(line):
    """Make of each quoted name a link or code."""

    def mark(match):
        name = match[1]
        if name.partition(".")[0] in alexnet_lib.__all__:
            return f":py:obj:`{name} <alexnet_lib.{name}>`"
        return f"``{name}``"

    return QUOTED.sub(mark, line)


class Library(SphinxDirective):
    """Reference of one module."""

    required_arguments = 1

    def run(self):
        """Return the nodes that the entries make."""
        (name,) = self.arguments
        about = inspect.getdoc(importlib.import_module(f"alexnet_lib.{name}")).splitlines()
        text = ["```{eval-rst}", *map(mark_names, about), "", *entries(name), "```"]
        node = nodes.container()
        self.state.nested_parse(StringList(text, f"alexnet_lib/{name}.py"), 0, node)
        return node.children


def mark_docstring(app, what, name, value, options, lines):
    """Mark the names in a docstring, in place."""
    lines[:] = [mark_names(line) for line in lines]


def skip_fields(app, what, name, value, skip, options):
    """Leave out a named tuple's fields, which its docstring lists."""
    return skip or (inspect.getdoc(value) or "").startswith("Alias for field number")


def setup(app):
    """Register with Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.setup_extension("sphinx.ext.napoleon")
    app.add_directive("library", Library)
    # Before Napoleon, whose entries for arguments hold names too.
    app.connect("autodoc-process-docstring", mark_docstring, priority=400)
    app.connect("autodoc-skip-member", skip_fields)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
