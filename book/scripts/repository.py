"""Sphinx extension: one setting decides whether anything leads to a public repository.

The setting is ``repository_url`` in _config.yml. While it is the placeholder, pages have no buttons
for the repository, issues, edits, Colab and Binder, the text under ``{only} public`` is left out,
and README.md has no badges. `execute.py` carries the setting into the notebooks and the README.
"""

import re
from pathlib import Path

import yaml

PLACEHOLDER = "https://github.com/alexnet-book/alexnet-book"
THEME_OPTIONS = (
    "launch_buttons",
    "repository_branch",
    "repository_url",
    "use_edit_page_button",
    "use_issues_button",
    "use_repository_button",
)
BADGES = """\
[![Book]({url}/actions/workflows/book.yml/badge.svg)]({url}/actions/workflows/book.yml)
![Python 3.10 to 3.13](https://img.shields.io/badge/python-3.10_to_3.13-blue)
[![MIT licence](https://img.shields.io/badge/licence-MIT-blue)](LICENSE)
"""


def repository_url(root: Path) -> str:
    """Return the address that _config.yml names."""
    config = yaml.safe_load((root / "_config.yml").read_text("utf-8"))
    return config["sphinx"]["config"]["html_theme_options"]["repository_url"]


def with_badges(readme: str, url: str) -> str:
    """Return a README whose badges fit the address; none belong to the placeholder."""
    badges = "" if url == PLACEHOLDER else BADGES.format(url=url)
    marks = r"(?s)(?<=<!-- badges -->\n).*(?=<!-- end of badges -->)"
    return re.sub(marks, lambda _: badges, readme)


def switch(app, config):
    """Drop the theme's buttons, or let the text for a public book through."""
    options = config.html_theme_options
    if options["repository_url"] == PLACEHOLDER:
        for name in THEME_OPTIONS:
            options.pop(name, None)
    else:
        app.tags.add("public")


def setup(app):
    """Register with Sphinx."""
    app.connect("config-inited", switch)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
