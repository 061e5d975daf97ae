"""Run every benchmark, print the tables and write them as CSV files into data/results."""

import logging
import os

import click

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from alexnet_lib.files import RESULTS
from benchmarks import (
    accuracy,
    forward,
    growth,
    inputs,
    normalization,
    reading,
    roofline,
    startup,
    training,
)
from benchmarks.compare import machine, short, write

# Each module yields rows; a new benchmark is a new module in this list.
MODULES = (forward, normalization, training, reading, inputs, startup)
HEAD = (
    "work",
    "ours, ms",
    "peer",
    "peer, ms",
    "ratio",
    "runs",
    "share",
    "MiB",
    "peer's",
    "target",
    "met",
)
WIDTHS = (62, 16, 27, 16, 8, 4, 6, 7, 7, 17, 3)


@click.command()
@click.option("--quick", is_flag=True, help="Run everything once and small; write nothing.")
def main(quick):
    """Compare the library with its peers and with what the machine can do."""
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # of graphs that are traced on purpose
    about = machine()
    print(*(f"{key} {value}" for key, value in about.items()), sep=", ")
    print(
        "Median of interleaved runs, +- half the gap between the quartiles; ratio: peer / ours;\n"
        "share: of what the machine's limit allows.\n"
    )
    print(line(HEAD))
    rows = []
    for module in MODULES:
        for row in module.rows(quick):
            rows.append(row)
            print(line(cells(row)), flush=True)
    results = {"speed": rows}
    tables = {"accuracy": accuracy.rows, "roofline": roofline.layers, "growth": growth.points}
    for name, records in tables.items():
        results[name] = []
        for record in records(quick):
            results[name].append(record)
            print(*(f"{key} {short(value)}" for key, value in record._asdict().items()), sep=", ")
    missed = [row for row in rows if row.met == 0]
    print(f"\n{sum(row.met == 1 for row in rows)} targets reached, {len(missed)} missed")
    for name, records in results.items() if not quick else ():
        write(RESULTS / f"{name}.csv", records, about)


def cells(row):
    """Format one row for the screen."""
    return (
        row.work,
        timed(row.ours_ms, row.ours_spread_ms),
        row.peer,
        timed(row.peer_ms, row.peer_spread_ms),
        f"{row.ratio:.3g}x",
        row.runs,
        "" if row.share is None else f"{row.share:.0%}",
        *("" if value is None else f"{value:.0f}" for value in (row.ours_mib, row.peer_mib)),
        row.target or "",
        {None: "", 0: "no", 1: "yes"}[row.met],
    )


def timed(median, spread):
    """Format a time and, where there were several runs, its spread."""
    return f"{median:.3g}" if spread is None else f"{median:.3g} +- {spread:.2g}"


def line(cells):
    """Pad cells to columns."""
    return " ".join(f"{cell:<{width}}" for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()


if __name__ == "__main__":
    main()
