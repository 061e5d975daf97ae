"""Build the book into ``_build/html`` and check it: ``make book``.

Jupyter Book's exit status says too little, so this script looks for itself: every page of
``_toc.yml`` is there, every notebook has run, and every link, anchor and asset of every HTML page
leads somewhere inside the book. The screen shows which chapter runs; all that Jupyter Book prints
goes to a log. What is wrong is listed at the end of the output, and the exit status is then 1.
"""

import hashlib
import json
import os
import re
import shutil
import sys
import time
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from urllib.parse import unquote, urlsplit

import live
import nbformat
from bs4 import BeautifulSoup
from chapters import run_chapters
from console import ANSI_COLOUR, LOGS, ROOT, Screen, last_lines, run_logged, short_path
from nbformat.reader import NotJSONError
from sphinx_external_toc.parsing import MalformedError, parse_toc_yaml

LOG = LOGS / "book.txt"
# Start-up notes of kernels and TensorFlow, which no setting silences, and Sphinx's own warnings.
NOISE = re.compile(r"[IWE]\d{4} \d\d:|WARNING: All log messages before absl|\[IPKernelApp\] WARN")
EXECUTING = re.compile(r"(\S+): Executing notebook using")
WARNING = re.compile(r"(\S+( of \S+)?: )?(WARNING|ERROR|CRITICAL): ")


def check_sources(root: Path) -> list[str]:
    """Compare the table of contents with the files; refuse notebooks that leave a cell unrun."""
    try:
        listed = set(parse_toc_yaml(root / "_toc.yml"))
    except MalformedError as error:
        return [f"_toc.yml: {error}"]
    faults = [
        f"_toc.yml: lists {page}, but there is no {page}.md and no {page}.ipynb"
        for page in sorted(listed)
        if not any((root / f"{page}{suffix}").is_file() for suffix in (".md", ".ipynb"))
    ]
    for path in sorted([*root.glob("book/*.md"), *root.glob("notebooks/*.ipynb")]):
        name = path.relative_to(root)
        if name.with_suffix("").as_posix() not in listed:
            faults.append(f"{name}: not in _toc.yml")
        if path.suffix == ".ipynb":
            try:
                cells = nbformat.read(path, as_version=4).cells
            except (NotJSONError, nbformat.ValidationError) as error:
                faults.append(f"{name}: not a notebook: {error}")
                continue
            if any("skip-execution" in cell.metadata.get("tags", []) for cell in cells):
                faults.append(f"{name}: has a cell that is shown but never run (skip-execution)")
    return faults


def cache_key(root: Path) -> str:
    """Digest all that a notebook's outputs depend on, beside the notebook's own cells.

    Jupyter's cache looks at those cells alone. Real data is told by its files' names and sizes,
    because reading gigabytes would cost more than running the notebooks.
    """
    installed = sorted(f"{package.name} {package.version}" for package in distributions())
    digest = hashlib.sha256("\n".join([sys.version, *installed]).encode())
    sources = [p for name in ("alexnet_lib", "data") for p in (root / name).rglob("*")]
    for path in sorted(sources):
        relative = path.relative_to(root)
        if path.is_file() and not {"__pycache__", "downloads"} & set(relative.parts):
            digest.update(f"{relative}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    if folder := os.environ.get("ALEXNET_DATA"):
        digest.update(os.path.abspath(folder).encode())
        for path in sorted(Path(folder).rglob("*")):
            digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
    return digest.hexdigest()


def clear_stale(build: Path, key: str) -> None:
    """Drop the last build's pages, and its cached outputs where they no longer hold.

    Sphinx would otherwise take a page whose notebook failed last time for up to date.
    """
    for folder in ("html", "jupyter_execute", ".doctrees"):
        shutil.rmtree(build / folder, ignore_errors=True)
    stamp = build / "cache_key"
    if not stamp.is_file() or stamp.read_text() != key:
        shutil.rmtree(build / ".jupyter_cache", ignore_errors=True)
        build.mkdir(exist_ok=True)
        stamp.write_text(key)


class Pages:
    """Shows what Jupyter Book is at, from the lines of its output, and keeps its warnings."""

    def __init__(self, screen: Screen):
        self.screen, self.warnings = screen, []
        self.step, self.start = "reading the pages", time.monotonic()

    def note(self, line: str) -> None:
        """Look at one line."""
        line = line.replace(f"{ROOT}{os.sep}", "")
        if NOISE.match(line):
            return
        if WARNING.match(line):
            self.warnings.append(line)
        if found := EXECUTING.match(line):
            self.step = f"running {found[1]}"
        elif "Executed notebook in" in line or "Executing notebook failed" in line:
            self.step = "reading the pages"
        elif line.startswith(("writing output", "preparing documents")):
            self.step = "writing the pages"

    def show(self) -> None:
        """Say what is going on, and for how long."""
        self.screen.update(f"{self.step} ... {time.monotonic() - self.start:.0f} s")


def run_jupyter_book(root: Path, screen: Screen, log: Path = LOG) -> list[str]:
    """Run Jupyter Book; return its warnings, which are all faults."""
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    command = [jupyter_book, "build", "-W", "-n", "--keep-going", "--all", root]
    pages = Pages(screen)
    status = run_logged(command, log, pages.note, pages.show)
    if status and not pages.warnings:
        return [f"jupyter-book broke off. Its last lines:\n{last_lines(log)}"]
    return pages.warnings


def check_executed(root: Path, executed: dict[str, dict]) -> list[str]:
    """Ask for a successful run of every notebook; print the failing cell of one that has none.

    Args:
        root: Folder of the book.
        executed: What `execution_report.py` wrote about each page, by the page's name.
    """
    faults = []
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        name = path.relative_to(root)
        run = executed.get(name.with_suffix("").as_posix())
        if not run:
            faults.append(f"{name}: was not run in this build")
        elif not run["succeeded"]:
            faults.append(f"{name}: a cell failed ({run['error']}), see above")
            text = ANSI_COLOUR.sub("", run["traceback"])
            reason = re.split(r"nbclient\.exceptions\.\w+: ", text)[-1].strip()
            print(f"\n{'=' * 80}\n{name}\n{reason}\n{'=' * 80}")
    return faults


def check_pages(html: Path, pages: list[str]) -> list[str]:
    """Check that the pages are there, show no error, and that each link and asset resolves.

    Every image must say in its alternative text what it shows.
    """

    @cache
    def parse(path: Path) -> BeautifulSoup:
        return BeautifulSoup(path.read_bytes(), "html.parser")

    @cache
    def anchors(path: Path) -> set[str]:
        return {tag["id"] for tag in parse(path).find_all(id=True)}

    faults = [
        f"{page}.html: was not built" for page in pages if not (html / f"{page}.html").is_file()
    ]
    for path in sorted(html.rglob("*.html")):
        if "_static" in path.relative_to(html).parts:
            continue
        name, page = path.relative_to(html), parse(path)
        for kind in ("traceback", "stderr"):
            if page.select(f".output.{kind}"):
                faults.append(f"{name}: shows a {kind}")
        for image in page.select("img"):
            words, source = image.get("alt", "").strip(), image.get("src", "")
            if not words or words.endswith(Path(unquote(source)).name):  # Sphinx's own default
                faults.append(f"{name}: an image without alternative text: {source}")
        for tag in page.select("[href], [src]"):
            target = urlsplit(tag.get("href") or tag.get("src") or "")
            if target.scheme or target.netloc:
                if tag.name != "a" and target.scheme != "data":
                    faults.append(f"{name}: <{tag.name}> needs the network: {target.geturl()}")
                continue
            file = (path.parent / unquote(target.path)).resolve() if target.path else path
            anchor = unquote(target.fragment)
            if not file.is_file():
                faults.append(f"{name}: broken link: {target.geturl()}")
            elif anchor and file.suffix == ".html" and anchor not in anchors(file):
                faults.append(f"{name}: broken anchor: {target.geturl()}")
    return faults


def main() -> int:
    """Build and check; return the exit status."""
    build, screen, start = ROOT / "_build", Screen(), time.monotonic()
    faults = check_sources(ROOT)
    if not faults:
        os.environ["BOOK_STARTED"] = str(time.time())
        key = cache_key(ROOT)
        clear_stale(build, key)
        if lacking := live.make(ROOT, build / "live", key, screen):
            screen.print(f"{live.WITHOUT}: {lacking}.")
        screen.print("Building the book. A chapter that has not changed keeps its outputs.")
        LOG.unlink(missing_ok=True)
        run_chapters(ROOT, LOG, screen)
        faults = run_jupyter_book(ROOT, screen)
        report = build / "html" / "execution.json"
        if report.is_file():
            screen.update("checking links and figures ...")
            faults += check_executed(ROOT, json.loads(report.read_text("utf-8")))
            faults += check_pages(build / "html", list(parse_toc_yaml(ROOT / "_toc.yml")))
        elif not faults:  # else Sphinx gave up, and has said why
            faults.append("execution.json: was not written, so nothing more could be checked")
    if faults:
        screen.print("\nThe book is not built:")
        screen.print("\n".join(f"  {fault}" for fault in faults))
        if LOG.is_file():
            screen.print(f"The whole log is in {short_path(LOG)}")
        return 1
    screen.print(
        f"The book is built in {time.monotonic() - start:.0f} s, and every link in it holds. "
        "Open _build/html/index.html, or: make serve"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
