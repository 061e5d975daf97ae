"""Sphinx extension: write down how each notebook's run went, in ``execution.json``."""

import json
from pathlib import Path


def write_report(app, error):
    """Store MyST-NB's record of each page that has run: success, seconds, error, traceback."""
    if error is None:
        runs = {
            page: noted["exec_data"]
            for page, noted in app.env.nb_metadata.items()
            if noted.get("exec_data")
        }
        Path(app.outdir, "execution.json").write_text(json.dumps(runs, indent=2), "utf-8")


def setup(app):
    """Register with Sphinx."""
    app.connect("build-finished", write_report)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
