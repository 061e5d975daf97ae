"""Time two or more ways to do the same work, fairly on a machine that is not quiet."""

import csv
import functools
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from alexnet_lib.files import atomic_path, versions

LIMIT = 1e-5  # what counts as the same float32 result
PEAK = "SGEMM peak"
PAUSE = 0.05  # seconds
# Products (m, k) x (k, n), of which the fastest is the peak: two squares, and conv3 of 32 images
# written as a product. Larger ones gain less than a percent.
PRODUCTS = ((2048, 2048, 2048), (3072, 3072, 3072), (5408, 2304, 384))


class Row(NamedTuple):
    """One line of the table: times are medians in milliseconds of `runs` timed runs each.

    The spread is half the quartiles' gap, None for a single run. `ratio` is the peer's time over
    ours: above 1, ours is faster. `share` is that ratio to the limit that the machine sets,
    measured in the same turns: a product of matrices for arithmetic, a copy for what memory must
    carry, a plain read for a file, decoding for image files. It is None where nothing plain sets
    one: opening a mapped file reads next to nothing, and a cold start, epochs of the head and the
    whole story are many kinds of work one after the other. Memory is in MiB above the
    interpreter's with its modules loaded (of a cold start, the peak of the whole process), and None
    where it was not measured. `target` says what was to be reached, and `met` whether it was, 1
    or 0.
    """

    work: str
    ours_ms: float
    ours_spread_ms: float | None
    peer: str
    peer_ms: float
    peer_spread_ms: float | None
    ratio: float
    runs: int
    share: float | None = None
    ours_mib: float | None = None
    peer_mib: float | None = None
    target: str | None = None
    met: int | None = None


def time_in_turns(functions, runs, warm_up=True, pause=PAUSE):
    """Time functions in turns, so that the machine's other load hits all of them alike.

    Every round begins with another one, and once each has begun, the order turns round: nobody
    always comes first, or always after the same one, whose memory it may meet. A pause lets the
    threads of the one before fall asleep, which some engines keep spinning for a while.

    Args:
        functions: a dict from name to a function without arguments.
        runs: how often each is timed.
        warm_up: call each once more before.
        pause: seconds before each call.

    Returns:
        A dict from name to an array of `runs` times in milliseconds.
    """
    for function in functions.values() if warm_up else ():
        function()
    times = {name: [] for name in functions}
    names = list(functions)
    for turn in range(runs):
        laps, first = divmod(turn, len(names))
        for name in (names[first:] + names[:first])[:: -1 if laps % 2 else 1]:
            function = functions[name]
            time.sleep(pause)
            start = time.perf_counter()
            function()
            times[name].append(1000 * (time.perf_counter() - start))
    return {name: np.array(values) for name, values in times.items()}


def row(work, ours, peer, times, memory=None, limit=PEAK, reach=None):
    """Make a row out of two entries of `time_in_turns`' result, and of a like dict of MiB.

    Args:
        work: what was done.
        ours: name of the entry that is ours.
        peer: name of the entry to compare it with.
        times: from name to times in milliseconds.
        memory: from name to MiB.
        limit: name of the entry of which `share` is said, if it is in `times`.
        reach: the ratio that was to be reached.
    """
    median = {name: float(np.median(values)) for name, values in times.items()}
    spread = {name: _spread(times[name]) for name in (ours, peer)}
    memory = memory or {}
    ratio = median[peer] / median[ours]
    return Row(
        work,
        median[ours],
        spread[ours],
        peer,
        median[peer],
        spread[peer],
        ratio,
        runs=len(times[ours]),
        share=median[limit] / median[ours] if limit in times else None,
        ours_mib=memory.get(ours),
        peer_mib=memory.get(peer),
        target=None if reach is None else f"at least {reach:g}x",
        met=None if reach is None else int(ratio >= reach),
    )


def _spread(values):
    """Return half the gap between the quartiles, or None of a single value."""
    return float(np.subtract(*np.percentile(values, [75, 25])) / 2) if len(values) > 1 else None


class Product(NamedTuple):
    """A product of float32 matrices, (m, k) x (k, n), and a function that computes it."""

    run: Callable
    m: int
    k: int
    n: int

    @property
    def macs(self):
        """The number of multiply-accumulates."""
        return self.m * self.k * self.n


@functools.cache
def sgemm():
    """Return that one of `PRODUCTS` which this machine computes fastest."""
    products = [_product(*shape) for shape in PRODUCTS]
    times = time_in_turns({product: product.run for product in products}, 5)
    return min(products, key=lambda product: np.median(times[product]) / product.macs)


def _product(m, k, n):
    import tensorflow as tf

    # Not arguments: TensorFlow would compute the product of constants once.
    a, b = (tf.Variable(tf.random.stateless_uniform(shape, (0, 0))) for shape in ((m, k), (k, n)))
    multiply = tf.function(lambda: a @ b, autograph=False)
    # The result is not copied out. A CPU has it when the call returns; a GPU is waited for.
    return Product(lambda: (multiply(), tf.test.experimental.sync_devices()), m, k, n)


def at_peak(times, macs, peak):
    """Turn the times of the `Product` `peak` into what `macs` would take at that speed."""
    return times | {PEAK: times[PEAK] * macs / peak.macs}


def check_equal(name, actual, expected, limit=LIMIT):
    """Raise AssertionError where two float32 results are not the same; see `relative_error`."""
    from alexnet_lib.port.engines import relative_error

    error = relative_error(np.asarray(actual), np.asarray(expected))
    assert error <= limit, f"{name}: differs by {error:.1e}, which is more than {limit:.0e}"


def in_own_process(module, *arguments, **environment):
    """Run `python -m module arguments` in an interpreter of its own and return what it prints.

    Memory that was used before does not count there, and nothing is warm.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    result = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | environment, check=False
    )
    if result.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} failed:\n{result.stderr[-2000:]}")
    return result.stdout


def memory_mib(name):
    """Return one of the figures that Linux keeps about this process, such as VmRSS, or None.

    VmHWM is a fresh interpreter's own high-water mark; `ru_maxrss` would start from its parent's.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    lines = status.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def machine():
    """Describe processor and software, without a word that names this one machine."""
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), cpu)
    return {"cpu": cpu, "cores": os.cpu_count(), **versions("onnxruntime", "protobuf")}


def write(path, records, about, part=None, parts=()):
    """Write named tuples of one kind, each with the machine and its versions.

    Args:
        path: of the CSV.
        records: the named tuples.
        about: of `machine`.
        part: if several benchmarks share the file, the name of this one, for the first column.
        parts: names of all that share it, in the file's order. Rows of the others stay.
    """
    rows = [record._asdict() | about for record in records]
    rows = [{name: short(value) for name, value in row.items()} for row in rows]
    if part:
        rows = [{"part": part} | row for row in rows]
        if path.is_file():
            with path.open(newline="") as file:
                rows += [row for row in csv.DictReader(file) if row["part"] != part]
        rows.sort(key=lambda row: parts.index(row["part"]))
    with atomic_path(path) as partial, open(partial, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    tqdm.write(f"Written to data/results/{path.name}")


def short(value):
    """Round a float to four digits."""
    return f"{value:.4g}" if isinstance(value, float) else value
