"""Run the chapters side by side and put their outputs into Jupyter's cache, for Jupyter Book.

Jupyter Book itself runs one notebook after another, and a single kernel leaves most of a second
core idle while it imports and draws.
"""

import os
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path

import nbformat
from console import Screen
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.executors.utils import ExecutionResult, single_nb_execution
from nbclient.exceptions import DeadKernelError

TOGETHER = 2  # more kernels would need more memory than a small machine has
TIMEOUT = 600  # seconds a cell, as in _config.yml


def send_to(log: Path) -> None:
    """Let this process and the kernels that it starts write to a file."""
    with open(log, "a") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)


def run_chapter(path: Path) -> ExecutionResult:
    """Run one notebook in its folder; the result names the error of a failing cell."""
    notebook, folder = nbformat.read(path, as_version=4), str(path.parent)
    try:
        return single_nb_execution(notebook, folder, TIMEOUT, allow_errors=False)
    except DeadKernelError as error:  # two at a time may have needed too much memory
        return ExecutionResult(notebook, folder, 0, error)


def run_chapters(root: Path, log: Path, screen: Screen) -> None:
    """Run every notebook that the cache does not hold, and cache what succeeds.

    A notebook that fails is left to Jupyter Book, which runs it once more and reports it.

    Args:
        root: Folder of the book.
        log: File for all that the kernels write beside their outputs.
        screen: Shows which chapters run, and how long each of them took.
    """
    cache = get_cache(root / "_build" / ".jupyter_cache")
    paths = sorted(root.glob("notebooks/*.ipynb"))
    waiting = []
    for path in paths:
        try:
            cache.match_cache_notebook(nbformat.read(path, as_version=4))
        except KeyError:
            waiting.append(path)
        else:
            screen.print(f"{path.relative_to(root).as_posix()}  not changed, not run")
    log.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(TOGETHER, initializer=send_to, initargs=(log,)) as pool:
        start = time.monotonic()
        running = {pool.submit(run_chapter, path): path for path in waiting}
        while running:
            count = len(waiting) - len(running)
            seconds = time.monotonic() - start
            screen.update(f"{count} of {len(waiting)} chapters have run ... {seconds:.0f} s")
            for future in wait(running, timeout=1, return_when=FIRST_COMPLETED).done:
                path, result = running.pop(future), future.result()
                count += 1
                how = "failed" if result.err else f"{result.time:.0f} s"
                name = path.relative_to(root).as_posix()
                screen.print(f"[{count}/{len(waiting)}] {name}  {how}")
                if not result.err:
                    data = {"execution_seconds": result.time}
                    bundle = CacheBundleIn(result.nb, str(path), data=data)
                    cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
