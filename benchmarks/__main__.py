"""Run every benchmark, print the tables and write them as CSV files into data/results."""

import logging

import click
import pandas as pd
from tqdm import tqdm

from alexnet_lib.files import RESULTS
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
from benchmarks.compare import machine, write

# Each module yields rows; a new benchmark is a new module in this list.
MODULES = (forward, ported, normalization, training, reading, inputs, startup)
TABLES = {"accuracy": accuracy.rows, "roofline": roofline.layers, "growth": growth.points}


@click.command()
@click.option("--quick", is_flag=True, help="Run everything once and small; write nothing.")
def main(quick):
    """Compare the library with its peers and with what the machine can do."""
    import_tensorflow()
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # of graphs that are traced on purpose
    about = machine()
    print(*(f"{key} {value}" for key, value in about.items()), sep=", ")
    results = {"speed": []}
    with tqdm(total=len(MODULES) + len(TABLES), unit="part", leave=False) as bar:
        for module in MODULES:
            bar.set_description(module.__name__.rpartition(".")[2])
            results["speed"] += module.rows(quick)
            bar.update()
        for name, records in TABLES.items():
            bar.set_description(name)
            results[name] = list(records(quick))
            bar.update()
    rows = results["speed"]
    print(
        "\nMedian of interleaved runs, +- half the gap between the quartiles; ratio: peer / ours;\n"
        "share: of what the machine's limit allows.\n"
    )
    print(table(map(cells, rows)))
    for name in TABLES:
        print(f"\n{name}\n{table(record._asdict() for record in results[name])}")
    missed = sum(row.met == 0 for row in rows)
    print(f"\n{sum(row.met == 1 for row in rows)} targets reached, {missed} missed")
    for name, records in results.items() if not quick else ():
        write(RESULTS / f"{name}.csv", records, about)


def cells(row):
    """Format one row for the screen; return a dict from the column's head to its text."""
    return {
        "work": row.work,
        "ours, ms": timed(row.ours_ms, row.ours_spread_ms),
        "peer": row.peer,
        "peer, ms": timed(row.peer_ms, row.peer_spread_ms),
        "ratio": f"{row.ratio:.3g}x",
        "runs": row.runs,
        "share": "" if row.share is None else f"{row.share:.0%}",
        "MiB": "" if row.ours_mib is None else f"{row.ours_mib:.0f}",
        "peer's": "" if row.peer_mib is None else f"{row.peer_mib:.0f}",
        "target": row.target or "",
        "met": {None: "", 0: "no", 1: "yes"}[row.met],
    }


def timed(median, spread):
    """Format a time and, where there were several runs, its spread."""
    return f"{median:.3g}" if spread is None else f"{median:.3g} +- {spread:.2g}"


def table(rows):
    """Format dicts as lines of a table that is not cut."""
    frame = pd.DataFrame(rows)
    return frame.to_string(index=False, na_rep="", float_format="{:.4g}".format)


if __name__ == "__main__":
    main()
