"""Time two or more ways to do the same work, fairly on a machine that is not quiet."""

import os
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np

PACKAGES = ("numpy", "tensorflow", "keras", "opencv-python-headless", "protobuf")


class Row(NamedTuple):
    """One line of the table: times are medians in milliseconds, with half the quartiles' gap.

    `ratio` is the peer's time over ours: above 1, ours is faster. Memory is in MiB above the
    interpreter's with its modules loaded, and None where it was not measured.
    """

    work: str
    ours_ms: float
    ours_spread_ms: float
    peer: str
    peer_ms: float
    peer_spread_ms: float
    ratio: float
    runs: int
    ours_mib: float | None = None
    peer_mib: float | None = None


def time_in_turns(functions, runs):
    """Time functions in turns, ABAB..., so that the machine's other load hits all of them alike.

    Args:
        functions: a dict from name to a function without arguments; each is called once more
            before, to warm up.
        runs: how often each is timed.

    Returns:
        A dict from name to an array of `runs` times in milliseconds.
    """
    for function in functions.values():
        function()
    times = {name: [] for name in functions}
    for _ in range(runs):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(1000 * (time.perf_counter() - start))
    return {name: np.array(values) for name, values in times.items()}


def row(work, ours, peer, times, memory=None):
    """Make a row out of two entries of `time_in_turns`' result, and of a like dict of MiB."""
    median = {name: float(np.median(times[name])) for name in (ours, peer)}
    spread = {
        name: float(np.subtract(*np.percentile(times[name], [75, 25])) / 2) for name in median
    }
    memory = memory or {}
    return Row(
        work,
        median[ours],
        spread[ours],
        peer,
        median[peer],
        spread[peer],
        ratio=median[peer] / median[ours],
        runs=len(times[ours]),
        ours_mib=memory.get(ours),
        peer_mib=memory.get(peer),
    )


def machine():
    """Describe processor and software, without a word that names this one machine."""
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), cpu)
    versions = {package: metadata.version(package) for package in PACKAGES}
    return {"cpu": cpu, "cores": os.cpu_count(), "python": platform.python_version(), **versions}
