"""Sphinx extension: mend what the keyboard or a screen reader cannot use in others' markup.

axe-core finds all of it; `tests/test_live.py` asks it on every page.
"""

import re

MENDED = (
    # MyST-NB's label hides the words "Show code cell source" that are seen.
    (r'<summary aria-label="Toggle hidden content">', "<summary>"),
    # docutils' list has entries that are none of a list's.
    (r'<div role="list" class="citation-list">', '<div class="citation-list">'),
    # A wide figure scrolls on a phone; the arrow keys scroll what has the focus.
    (
        r'(<div class="cell tag_wide-figure[^>]*>(?:(?!<div class="cell_output).)*)'
        r'<div class="cell_output([^>]*)>',
        r'\1<div class="cell_output\2 tabindex="0" role="region" aria-label="Wide figure">',
    ),
)


def mend(app, page, template, context, doctree):
    """Replace the markup in a page's body."""
    for old, new in MENDED:
        if "body" in context:
            context["body"] = re.sub(old, new, context["body"], flags=re.DOTALL)


def setup(app):
    """Register with Sphinx."""
    app.connect("html-page-context", mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
