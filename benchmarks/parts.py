"""The benchmarks by name, and one of them in a process of its own."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

from alexnet_lib.quiet import import_tensorflow
from benchmarks import (
    accuracy,
    forward,
    growth,
    inputs,
    normalization,
    ported,
    reading,
    roofline,
    startup,
    training,
)

# What yields rows of data/results/speed.csv, and what has a table of its own.
ROWS = {
    "forward": forward.rows,
    "ported": ported.rows,
    "normalization": normalization.rows,
    "training": training.rows,
    "story": training.story,
    "reading": reading.rows,
    "inputs": inputs.rows,
    "startup": startup.rows,
}
TABLES = {"accuracy": accuracy.rows, "roofline": roofline.layers, "growth": growth.points}
PARTS = ROWS | TABLES


def run(part, quick):
    """Return the rows of one part.

    Its process gives all memory back in the end, and nothing is warm from the part before.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_rows, part, quick).result()


def _rows(part, quick):
    import_tensorflow()
    return list(PARTS[part](quick))
