"""Run notebooks in place and store their outputs: ``make notebooks``.

What differs from machine to machine without meaning anything is not stored: messages on stderr,
times of execution, the version of the kernel. ``make lint`` looks for it with ``--check``.
"""

import argparse
import copy
import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
from chapters import TIMEOUT
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal
from repository import repository_url, with_badges

from alexnet_lib.files import atomic_path

ROOT = Path(__file__).resolve().parent.parent.parent
SETUP = """\
import sys

if "google.colab" in sys.modules:  # elsewhere there is nothing to install
    repository = "{repository}"
    !git clone -q --depth 1 {{repository}} /content/book
    %cd -q /content/book/notebooks
    %pip install -q -e .. onnx onnxruntime tf2onnx ai-edge-litert
    sys.path.insert(0, "/content/book")"""


def add_setup(notebook: nbformat.NotebookNode, root: Path = ROOT) -> None:
    """Make the second cell the one that brings the book to Colab; the title stays first."""
    source = SETUP.format(repository=repository_url(root))
    cell = nbformat.v4.new_code_cell(source, id="setup", metadata={"tags": ["remove-cell"]})
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


def check(paths: list[Path]) -> int:
    """Name the notebooks that store more than a run of this script does; return 1 if any does."""
    failed = 0
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        tidied = copy.deepcopy(notebook)
        tidy(tidied)
        if notebook != tidied:
            failed = 1
            print(f"{path}: stores stderr, times or versions of a machine: make notebooks")
    return failed


def execute(paths: list[Path]) -> int:
    """Run the notebooks in order; return 1 if a cell of any of them fails."""
    failed = 0
    for number, path in enumerate(paths, start=1):
        print(f"[{number}/{len(paths)}] {path}", end=" ", flush=True)
        start = time.monotonic()
        notebook = nbformat.read(path, as_version=4)
        add_setup(notebook)
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=TIMEOUT,
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
        with atomic_path(path) as partial:
            nbformat.write(notebook, partial)
        print(f"{time.monotonic() - start:.0f} s")
    return failed


def main() -> int:
    """Do what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="without any, all chapters")
    parser.add_argument("--check", action="store_true", help="run nothing, look at what is stored")
    options = parser.parse_args()
    paths = options.notebooks or sorted((ROOT / "notebooks").glob("*.ipynb"))
    if not options.notebooks and not options.check:
        readme = ROOT / "README.md"
        text = with_badges(readme.read_text("utf-8"), repository_url(ROOT))
        with atomic_path(readme) as partial:
            partial.write_text(text, "utf-8")
    return (check if options.check else execute)(paths)


if __name__ == "__main__":
    sys.exit(main())
