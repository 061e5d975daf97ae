"""Sphinx extension: mend what the keyboard or a screen reader cannot use in others' markup.

axe-core finds all of it; `tests/test_live.py` asks it on every page.
"""

import re
from pathlib import Path

MENDED = (
    # MyST-NB's label hides the words "Show code cell source" that are seen.
    (r'<summary aria-label="Toggle hidden content">', "<summary>"),
    # docutils' list has entries that are none of a list's.
    (r'<div role="list" class="citation-list">', '<div class="citation-list">'),
    # A wide figure scrolls on a phone; the arrow keys scroll what has the focus.
    (
        r'(<div class="cell tag_wide-figure[^>]*>(?:(?!<div class="cell_output).)*)'
        r'<div class="cell_output([^>]*)>',
        r'\1<div class="cell_output\2 tabindex="0" role="group" aria-label="Wide figure">',
    ),
    # The theme's labels differ from what is seen: "Search Ctrl+K", and the names of three icons.
    (r'(<button class="btn search-button-field[^>]*) title="Search" aria-label="Search"', r"\1"),
    (r'(<i class="theme-switch[^>]*) title="[^"]*"', r"\1"),
)


def mend(html):
    """Return the page with the markup replaced."""
    for old, new in MENDED:
        html = re.sub(old, new, html, flags=re.DOTALL)
    return html


def mend_pages(app, error):
    """Mend every page that was written."""
    if error is None:
        for path in Path(app.outdir).rglob("*.html"):
            html = path.read_text("utf-8")
            if (mended := mend(html)) != html:
                path.write_text(mended, "utf-8")


def setup(app):
    """Register with Sphinx."""
    app.connect("build-finished", mend_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
