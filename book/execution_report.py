"""Sphinx extension: how each notebook's run went, in ``execution.json`` and on the status page.

The directive ``execution-report`` becomes two tables, of runs and of versions, and a line about
data. What it says of a run that came from the cache is true of that run, because `build.py` drops
the cache as soon as a package or a file of data is another one.
"""

import hashlib
import json
import platform
from datetime import datetime, timezone
from html import escape
from importlib.metadata import version
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from alexnet_lib.files import CAFFEMODEL_SHA1, checksum, find_caffemodel
from alexnet_lib.images.folder import find_ucmerced

# The packages that compute what chapters show, and those that make pages of it.
PACKAGES = [
    "tensorflow", "keras", "numpy", "opencv-python-headless", "onnxruntime", "scikit-learn",
    "scipy", "pandas", "matplotlib", "jupyter-book", "Sphinx", "myst-nb",
]  # fmt: skip


class Placeholder(nodes.General, nodes.Element):
    """Stands where the report will be, until every notebook has been read."""


class ExecutionReport(SphinxDirective):
    """Put the placeholder."""

    def run(self):
        """Return it; the page is never kept from an earlier build."""
        self.env.note_reread()
        return [Placeholder()]


def note_start(app):
    """Remember when the build began; what ran before came from the cache."""
    app.env.book_started = datetime.now(timezone.utc)


def collect_runs(env):
    """Return MyST-NB's record of each page that has run, by the page's name."""
    return {
        page: noted["exec_data"]
        for page, noted in sorted(env.nb_metadata.items())
        if noted.get("exec_data")
    }


def table(heads, rows):
    """Write a table in HTML; cells are HTML already."""
    lines = [
        "".join(f"<{tag}>{cell}</{tag}>" for cell in row)
        for tag, row in [("th", heads), *(("td", row) for row in rows)]
    ]
    body = "".join(f"<tr>{line}</tr>" for line in lines[1:])
    return (
        '<div class="pst-scrollable-table-container"><table class="table">'
        f"<thead><tr>{lines[0]}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def run_row(record, title, link, started):
    """Describe one run: its chapter, its seconds, when it was, and in which build."""
    at = datetime.fromtimestamp(record["mtime"], timezone.utc)
    return (
        f'<a href="{escape(link)}">{escape(title)}</a>',
        "passed" if record["succeeded"] else f"failed: {escape(record['error'])}",
        f"{record['runtime']:.0f} s",
        f"{at:%Y-%m-%d %H:%M} UTC",
        "this build" if at >= started else "an earlier build, unchanged since",
    )


def describe_data():
    """Say which real data the chapters found, with checksums, or that there was none."""
    found = []
    if weights := find_caffemodel():
        sha1 = checksum(weights)
        kind = "BVLC's official file" if sha1 == CAFFEMODEL_SHA1 else "another file than BVLC's"
        found.append(f"weights {weights.name} ({kind}, SHA-1 <code>{sha1}</code>)")
    if folder := find_ucmerced():
        images = sorted(path for path in folder.glob("*/*") if path.is_file())
        listed = "".join(
            f"{checksum(path, 'sha256')}  {path.relative_to(folder).as_posix()}\n"
            for path in images
        )  # as `sha256sum */*` prints it
        sha256 = hashlib.sha256(listed.encode()).hexdigest()
        found.append(
            f"{len(images):,} images of UC Merced (SHA-256 of the list of their SHA-256: "
            f"<code>{sha256}</code>)"
        )
    if not found:
        return "none: the chapters ran with what the repository carries"
    return "; ".join(found)


def fill(app, doctree, page):
    """Put the report in the placeholder's place."""
    for placeholder in list(doctree.findall(Placeholder)):
        started, link = app.env.book_started, app.builder.get_relative_uri
        runs = [
            run_row(run, app.env.titles[name].astext(), link(page, name), started)
            for name, run in collect_runs(app.env).items()
        ]
        versions = [("Python", platform.python_version())]
        versions += [(package, version(package)) for package in PACKAGES]
        html = (
            f"<p>Built on {started:%Y-%m-%d at %H:%M} UTC, on {platform.system()} "
            f"({platform.machine()}). Real data: {describe_data()}.</p>"
            + table(["chapter", "run", "time", "run at", "run in"], runs)
            + table(["package", "version"], versions)
        )
        placeholder.replace_self(nodes.raw("", html, format="html"))


def write_report(app, error):
    """Store the record of all runs, with errors and tracebacks."""
    if error is None:
        report = json.dumps(collect_runs(app.env), indent=2)
        Path(app.outdir, "execution.json").write_text(report, "utf-8")


def setup(app):
    """Register with Sphinx."""
    app.add_node(Placeholder)
    app.add_directive("execution-report", ExecutionReport)
    app.connect("builder-inited", note_start)
    app.connect("doctree-resolved", fill)
    app.connect("build-finished", write_report)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
