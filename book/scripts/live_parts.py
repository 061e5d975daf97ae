"""Sphinx extension: the directive ``live``, an interactive part of a page.

Its content is for readers without JavaScript and for builds without live parts; the script takes
its place. A part's script, style and data are written where the part is, so that no other page
carries a byte of them.

The data is that of `live_data.py`, or, where it has none for a part, what the chapter itself has
shown as application/json: ``display({"application/json": ...}, raw=True)`` in a cell that is not
rendered, tagged remove-cell.
"""

import json
import shutil
from pathlib import Path

from docutils import nodes
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

#: What `live.py` makes before the pages are built.
MADE = Path(__file__).resolve().parents[2] / "_build" / "live"
FOLDER = "live"


class Live(SphinxDirective):
    """``{live} lrn`` places the part lrn, with its data from lrn.json."""

    required_arguments = 1
    has_content = True

    def run(self):
        """Return the nodes of the part."""
        (name,) = self.arguments
        content = nodes.container(classes=["live-fallback"])  # empty if a figure says it
        self.state.nested_parse(self.content, self.content_offset, content)
        if not (MADE / f"{name}.js").is_file():
            return [content]
        folder = "../" * self.env.docname.count("/") + FOLDER
        before = (
            f'<link rel="stylesheet" href="{folder}/live.css">'
            f'<div class="live live-{name}" data-live="{name}">'
            '<script type="application/json">'
        )
        after = f'</div><script defer src="{folder}/{name}.js"></script>'
        return [
            nodes.raw("", before, format="html"),
            nodes.raw("", "", format="html", live=name),
            nodes.raw("", "</script>", format="html"),
            content,
            nodes.raw("", after, format="html"),
        ]


def insert_data(app, doctree, page):
    """Write each part's data; a chapter's own is known only after it has run."""
    for node in list(doctree.findall(lambda node: isinstance(node, nodes.raw) and "live" in node)):
        made = MADE / f"{node['live']}.json"
        data = json.loads(made.read_text("utf-8")) if made.is_file() else shown_by(app, page)
        # In a script element, JSON must not contain what ends one.
        text = json.dumps(data).replace("</", "<\\/")
        node.replace_self(nodes.raw("", text, format="html"))


def shown_by(app, page):
    """Return what a cell of a chapter has shown as application/json."""
    executed = Path(app.outdir).parent / "jupyter_execute" / f"{page}.ipynb"
    cells = json.loads(executed.read_text("utf-8"))["cells"]
    for cell in cells:
        for output in cell.get("outputs", ()):
            if "application/json" in output.get("data", {}):
                return output["data"]["application/json"]
    raise ExtensionError(f"{page}: no cell shows application/json for the page's live part")


def copy(app, error):
    """Put scripts, styles and the network beside the pages."""
    if error is None and MADE.is_dir():
        ignore = shutil.ignore_patterns("*.json", "stamp")
        shutil.copytree(MADE, Path(app.outdir, FOLDER), ignore=ignore, dirs_exist_ok=True)


def setup(app):
    """Register with Sphinx."""
    app.add_directive("live", Live)
    app.connect("doctree-resolved", insert_data)
    app.connect("build-finished", copy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
