"""Sphinx extension: the directive ``live``, a part of a page that answers the reader's hand.

Its content is for readers without JavaScript and for builds without live parts; the script takes
its place. A part's script, style and data are written where the part is, so that no other page
carries a byte of them.
"""

import json
import shutil
from pathlib import Path

from docutils import nodes
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
        content = nodes.container(classes=["live-fallback"])
        self.state.nested_parse(self.content, self.content_offset, content)
        data = MADE / f"{name}.json"
        if not data.is_file():
            return [content]
        # In a script element, JSON must not contain what ends one.
        text = json.dumps(json.loads(data.read_text("utf-8"))).replace("</", "<\\/")
        folder = "../" * self.env.docname.count("/") + FOLDER
        before = (
            f'<link rel="stylesheet" href="{folder}/live.css">'
            f'<div class="live live-{name}" data-live="{name}">'
            f'<script type="application/json">{text}</script>'
        )
        after = f'</div><script defer src="{folder}/{name}.js"></script>'
        return [
            nodes.raw("", before, format="html"),
            content,
            nodes.raw("", after, format="html"),
        ]


def copy(app, error):
    """Put scripts, styles and the network beside the pages."""
    if error is None and MADE.is_dir():
        ignore = shutil.ignore_patterns("*.json", "stamp")
        shutil.copytree(MADE, Path(app.outdir, FOLDER), ignore=ignore, dirs_exist_ok=True)


def setup(app):
    """Register with Sphinx."""
    app.add_directive("live", Live)
    app.connect("build-finished", copy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
