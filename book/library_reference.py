"""Sphinx extension: the library reference, from `alexnet_lib`'s docstrings.

The directive ``library`` takes a module's name and shows the module's docstring and the functions
and classes of its ``__all__``, under the names by which they are imported. Docstrings write `names`
in single quotes: public ones become links, all others code.
"""

import functools
import importlib
import inspect
import pkgutil
import re

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

import alexnet_lib

QUOTED = re.compile(r"(?<![`:])`([^`]+)`")


def modules():
    """Return the names of the library's modules, without its own, that declare `__all__`."""
    found = pkgutil.walk_packages(alexnet_lib.__path__, "alexnet_lib.")
    names = [module.name for module in found if not module.name.endswith("__main__")]
    public = [name for name in names if hasattr(importlib.import_module(name), "__all__")]
    return [name.partition(".")[2] for name in public]


@functools.cache
def public_names():
    """Return the name to import for each public name: the short one if there is one."""
    paths = {}
    for module in modules():
        for name in importlib.import_module(f"alexnet_lib.{module}").__all__:
            short = name in alexnet_lib.__all__
            paths[name] = f"alexnet_lib.{name}" if short else f"alexnet_lib.{module}.{name}"
    return paths


def entries(module):
    """Return a reStructuredText line for each public function and class of a module."""
    lines, module = [], importlib.import_module(f"alexnet_lib.{module}")
    for name in module.__all__:
        value, path = getattr(module, name), public_names()[name]
        if inspect.isclass(value):
            lines += [f".. autoclass:: {path}", "   :members:", ""]
        elif callable(value):
            lines += [f".. autofunction:: {path}", ""]
    return lines


def mark_names(line):
    """Turn each quoted name into a link or into code."""

    def mark(match):
        name = match[1]
        first, dot, rest = name.partition(".")
        if first in public_names():
            return f":py:obj:`{name} <{public_names()[first]}{dot}{rest}>`"
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
