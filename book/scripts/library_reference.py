"""Sphinx extension: the library reference, from the docstrings in `alexnet_lib`.

A line ``{library} FOLDER`` in a page becomes a section for each module of that folder of the
library, with its docstring and the names in its ``__all__``; without FOLDER, for the modules
outside the folders. A name that `alexnet_lib` itself offers is documented as ``alexnet_lib.NAME``,
any other under its module. Docstrings quote `names`; public names become links, the rest code.
"""

import importlib
import inspect
import pkgutil
import re
from functools import cache

from sphinx.pycode import ModuleAnalyzer

import alexnet_lib

LIBRARY = re.compile(r"^\{library\} *(\S*)$", re.MULTILINE)
QUOTED = re.compile(r"(?<![`:])`([^`]+)`")


@cache
def modules():
    """Import all modules with public names; return them by name, folder by folder."""
    names = [
        found.name
        for found in pkgutil.walk_packages(alexnet_lib.__path__, "alexnet_lib.")
        if not found.ispkg and not found.name.endswith(("__main__", ".commands", "_command"))
    ]
    imported = {name: importlib.import_module(name) for name in names}
    return {name: module for name, module in imported.items() if public(module)}


def public(module):
    """Return a module's public names, in order."""
    return getattr(module, "__all__", ())


@cache
def addresses():
    """Return for each public name the dotted path by which it is best imported."""
    longer = {
        name: f"{path}.{name}" for path, module in modules().items() for name in public(module)
    }
    return longer | {name: f"alexnet_lib.{name}" for name in alexnet_lib.__all__}


def entry(module, name):
    """Return the lines of reStructuredText that document one name.

    A constant's text is the comment before it, whose lines begin with ``#:``.
    """
    value, address = getattr(module, name), addresses()[name]
    if inspect.isclass(value):
        return [f".. autoclass:: {address}", "   :members:", ""]
    if callable(value):
        return [f".. autofunction:: {address}", ""]
    about = ModuleAnalyzer.for_module(module.__name__).find_attr_docs().get(("", name), [])
    return [f".. py:data:: {address}", "", *(f"   {mark_names(line)}" for line in about), ""]


def document(module):
    """Return a section in Markdown: the module's name, its docstring, its names."""
    about = map(mark_names, inspect.getdoc(module).splitlines())
    entries = (line for name in public(module) for line in entry(module, name))
    return "\n".join(
        [
            f"### {module.__name__.rpartition('.')[2]}",
            "",
            "```{eval-rst}",
            *about,
            "",
            *entries,
            "```",
            "",
        ]
    )


def expand(app, page, source):
    """Put sections in the place of each line ``{library} FOLDER``, in place."""

    def write(match):
        folder = ".".join(filter(None, ["alexnet_lib", match[1]]))
        return "\n".join(
            document(module)
            for name, module in modules().items()
            if name.rpartition(".")[0] == folder
        )

    source[0] = LIBRARY.sub(write, source[0])


def mark_names(line):
    """Make of each quoted name a link or code."""

    def mark(match):
        first, dot, rest = match[1].partition(".")
        if first in addresses():
            return f":py:obj:`{match[1]} <{addresses()[first]}{dot}{rest}>`"
        return f"``{match[1]}``"

    return QUOTED.sub(mark, line)


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
    app.connect("source-read", expand)
    # Before Napoleon, whose entries for arguments hold names too.
    app.connect("autodoc-process-docstring", mark_docstring, priority=400)
    app.connect("autodoc-skip-member", skip_fields)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
