"""Sphinx extension: which build this is, for the pages, and how each notebook's run went.

The directive ``this-build`` becomes a line about time, machine and data and a table of versions,
``these-weights`` a sentence about the weights of AlexNet that this copy converted;
MyST-NB's own ``nb-exec-table`` shows the runs. ``execution.json``, beside the pages, holds the runs
with their errors and tracebacks for `build.py`.
"""

import hashlib
import json
import os
import platform
import time
from datetime import datetime
from importlib.metadata import requires, version
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from packaging.requirements import Requirement
from sphinx.util.docutils import SphinxDirective

from alexnet_lib.files import CAFFEMODEL_SHA1, checksum, find_caffemodel
from alexnet_lib.images.folder import find_ucmerced

# Chapters run before Sphinx does: build.py says when it began.
STARTED = datetime.fromtimestamp(float(os.environ.get("BOOK_STARTED", time.time())))


def packages():
    """Return the names of the packages that pyproject.toml asks for, to run and for the book."""
    wanted = map(Requirement, requires("alexnet-lib"))
    return [
        package.name
        for package in wanted
        if not package.marker or package.marker.evaluate({"extra": "book"})
    ]


def weights_found():
    """Return the weights' file that the chapters found, and its SHA-1; or None twice."""
    weights = find_caffemodel()
    return weights, weights and checksum(weights)


def describe_data():
    """Say which real data the chapters found, with checksums, or that there was none."""
    found = []
    weights, sha1 = weights_found()
    if weights:
        kind = "BVLC's official file" if sha1 == CAFFEMODEL_SHA1 else "another file than BVLC's"
        found.append(f"weights {weights.name} ({kind}, SHA-1 `{sha1}`)")
    if folder := find_ucmerced():
        images = sorted(path for path in folder.glob("*/*") if path.is_file())
        listed = "".join(
            f"{checksum(path, 'sha256')}  {path.relative_to(folder).as_posix()}\n"
            for path in images
        )  # as `sha256sum */*` prints it
        sha256 = hashlib.sha256(listed.encode()).hexdigest()
        found.append(
            f"{len(images):,} images of UC Merced (SHA-256 of the list of their SHA-256: "
            f"`{sha256}`)"
        )
    return "; ".join(found) or "none: the chapters ran with what the repository carries"


class TheseWeights(SphinxDirective):
    """Which weights of AlexNet the chapters of this build converted."""

    def run(self):
        """Return the nodes of the sentence."""
        weights, sha1 = weights_found()
        if weights is None:
            text = "This copy was built without BVLC's file and used stand-ins of the same form."
        elif sha1 == CAFFEMODEL_SHA1:
            text = "This copy was built with BVLC's official file."
        else:
            text = f"This copy was built with {weights.name}, which is not BVLC's official file."
        return [nodes.paragraph(text, text)]


class ThisBuild(SphinxDirective):
    """When, where, with which data and with which versions the book was built."""

    def run(self):
        """Return the nodes of the text."""
        versions = [("Python", platform.python_version())]
        versions += [(package, version(package)) for package in packages()]
        text = [
            f"This build began at {STARTED:%Y-%m-%d %H:%M:%S} on {platform.system()} "
            f"({platform.machine()}). A chapter with an earlier time in the table above was not "
            "run again: nothing that its outputs depend on has changed since.",
            "",
            f"Real data: {describe_data()}.",
            "",
            "| package | version |",
            "| --- | --- |",
            *(f"| {package} | {number} |" for package, number in versions),
        ]
        node = nodes.container()
        self.state.nested_parse(StringList(text, __file__), 0, node)
        return node.children


def write_report(app, error):
    """Store MyST-NB's record of each notebook's run."""
    if error is None:
        runs = {
            page: noted["exec_data"]
            for page, noted in app.env.nb_metadata.items()
            if noted.get("exec_data")
        }
        Path(app.outdir, "execution.json").write_text(json.dumps(runs, indent=2), "utf-8")


def setup(app):
    """Register with Sphinx."""
    app.add_directive("this-build", ThisBuild)
    app.add_directive("these-weights", TheseWeights)
    app.connect("build-finished", write_report)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
