"""Run every benchmark, print the tables and write them as CSV files into data/results."""

import click
import pandas as pd
from tqdm import tqdm

from alexnet_lib.files import RESULTS
from benchmarks.compare import machine, write
from benchmarks.parts import PARTS, TABLES, run


@click.command()
@click.option("--quick", is_flag=True, help="Run everything once and small; write nothing.")
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)), metavar="[PART]...")
def main(quick, parts):
    """Compare the library with its peers and with what the machine can do.

    Without PART, run all. Each part's results are written when it ends.
    """
    about = machine()
    print(*(f"{key} {value}" for key, value in about.items()), sep=", ")
    print(
        "\nMedian of interleaved runs, +- half the gap between the quartiles; ratio: peer / ours;\n"
        "share: of what the machine's limit allows.\n"
    )
    for part in tqdm(parts or PARTS, unit="part", leave=False):
        records = run(part, quick)
        alone = part in TABLES
        shown = (record._asdict() for record in records) if alone else map(cells, records)
        print(f"\n{part}\n{table(shown)}")
        if not quick and alone:
            write(RESULTS / f"{part}.csv", records, about)
        elif not quick:
            write(RESULTS / "speed.csv", records, about, part, list(PARTS))


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
