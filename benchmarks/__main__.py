"""Run every benchmark, print the table and write it to `benchmarks/results.csv`."""

import csv
from pathlib import Path

from benchmarks import normalization, reading
from benchmarks.compare import Row, machine

# Each module yields rows; a new benchmark is a new module in this list.
MODULES = (reading, normalization)
RESULTS = Path(__file__).with_name("results.csv")


def main():
    """Print rows as they come, then store all of them."""
    about = machine()
    print(*(f"{key} {value}" for key, value in about.items()), sep=", ")
    print(
        "Median of interleaved runs, +- half the gap between the quartiles; ratio: peer / ours.\n"
    )
    head = ("work", "ours, ms", "peer", "peer, ms", "ratio", "ours, MiB", "peer, MiB")
    print(line(head))
    rows = []
    for module in MODULES:
        for row in module.rows():
            rows.append(row)
            print(line(cells(row)), flush=True)
    with open(RESULTS, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*Row._fields, *about])
        for row in rows:
            values = (f"{value:.4g}" if isinstance(value, float) else value for value in row)
            writer.writerow([*values, *about.values()])
    print(f"\nWritten to {RESULTS.parent.name}/{RESULTS.name}")


def cells(row):
    """Format one row for the screen."""
    return (
        row.work,
        f"{row.ours_ms:.3g} +- {row.ours_spread_ms:.2g}",
        row.peer,
        f"{row.peer_ms:.3g} +- {row.peer_spread_ms:.2g}",
        f"{row.ratio:.3g}x",
        *("" if value is None else f"{value:.1f}" for value in (row.ours_mib, row.peer_mib)),
    )


def line(cells):
    """Pad cells to columns."""
    widths = (41, 16, 10, 16, 9, 9, 9)
    return " ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


if __name__ == "__main__":
    main()
