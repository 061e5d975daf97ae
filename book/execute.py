"""Run every notebook in place and store its outputs: ``make notebooks``.

What differs from machine to machine without meaning anything is not stored: messages on stderr,
times of execution, the version of the kernel.
"""

import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import yaml
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal

ROOT = Path(__file__).resolve().parent.parent
SETUP = """\
import sys

if "google.colab" in sys.modules:  # elsewhere there is nothing to install
    repository = "{repository}"
    !git clone -q --depth 1 {{repository}} /content/book
    %cd -q /content/book/notebooks
    %pip install -q -e .. onnx onnxruntime
    sys.path.insert(0, "/content/book")"""


def add_setup(notebook: nbformat.NotebookNode, root: Path = ROOT) -> None:
    """Make the second cell the one that brings the book to Colab; the title stays first."""
    config = yaml.safe_load((root / "_config.yml").read_text("utf-8"))
    repository = config["sphinx"]["config"]["html_theme_options"]["repository_url"]
    cell = nbformat.v4.new_code_cell(
        SETUP.format(repository=repository), id="setup", metadata={"tags": ["remove-cell"]}
    )
    others = [other for other in notebook.cells if other.id != cell.id]
    notebook.cells = [*others[:1], cell, *others[1:]]


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Remove from ``notebook`` what only tells on which machine, and when, it was run."""
    notebook.metadata["kernelspec"] = {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]


def main() -> int:
    """Run the notebooks in order; return 1 if a cell of any of them fails."""
    failed = 0
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    for number, path in enumerate(paths, start=1):
        name = path.relative_to(ROOT)
        print(f"[{number}/{len(paths)}] {name}", end=" ", flush=True)
        start = time.monotonic()
        notebook = nbformat.read(path, as_version=4)
        add_setup(notebook)
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=600,
            record_timing=False,
            resources={"metadata": {"path": str(path.parent)}},
        )
        try:
            client.execute(stderr=subprocess.DEVNULL)  # the kernel's start-up notes
        except CellControlSignal as error:
            failed = 1
            print("failed, left as it was:\n" + re.sub(r"\x1b\[[0-9;]*m", "", str(error)))
            continue
        tidy(notebook)
        nbformat.write(notebook, path)
        print(f"{time.monotonic() - start:.0f} s")
    return failed


if __name__ == "__main__":
    sys.exit(main())
