"""Sphinx extension: mend what screen readers cannot use in the markup of other extensions.

axe-core finds both, and `tests/test_live.py` asks it on every page.
"""

MENDED = {
    # MyST-NB's label hides the words "Show code cell source" that are seen.
    '<summary aria-label="Toggle hidden content">': "<summary>",
    # docutils' list has entries that are none of a list's.
    '<div role="list" class="citation-list">': '<div class="citation-list">',
}


def mend(app, page, template, context, doctree):
    """Replace the markup in a page's body."""
    for old, new in MENDED.items():
        if "body" in context:
            context["body"] = context["body"].replace(old, new)


def setup(app):
    """Register with Sphinx."""
    app.connect("html-page-context", mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
