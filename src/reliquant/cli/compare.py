"""`reliquant compare`: two studies side by side, what changed significantly."""

from __future__ import annotations

import argparse
from pathlib import Path

import polars as pl

from reliquant.cli.compare_text import compared_text
from reliquant.cli.output import Output
from reliquant.files.stored_frames import read_rows
from reliquant.report.compare import compare

EXAMPLE = "reliquant compare old/rows.parquet results/lab/rows.parquet"

OPEN = {  # what is neither significant nor not, by `how`
    "no interval": "{count} that differ have no interval ({named}): it may be chance.",
    "undefined": "{count} ({named}) have a value in one of the studies alone: in the other it is undefined.",
}


def add_words(parser: argparse.ArgumentParser, /) -> None:
    """Add what the subcommand takes."""
    parser.add_argument("rows_a", type=Path, help="rows.parquet of one study, or of one commit")
    parser.add_argument("rows_b", type=Path)
    parser.add_argument("--level", type=float, default=0.05, help="false discovery rate")
    parser.add_argument("--all", action="store_true", dest="each", help="also the smaller changes of a variant")
    parser.add_argument("--json", action="store_true")


def run(*, rows_a: Path, rows_b: Path, level: float, each: bool = False) -> Output:
    """Show what changed significantly from one study's rows to another's."""
    found = compare(read_rows(rows_a), read_rows(rows_b), level=level)
    changed = found.filter(pl.col("significant") | (pl.col("where") != "both"))
    notes = []
    unpaired = found.filter((pl.col("how") == "unpaired") & (pl.col("difference") != 0))
    if unpaired.height:
        notes.append(
            f"{unpaired.height:,} rows that differ keep no replicates in both studies. They are compared as if the "
            "studies shared no images, which is cautious."
        )
    for how, words in OPEN.items():
        open_ones = found.filter(pl.col("significant").is_null() & (pl.col("how") == how))
        if open_ones.height:
            named = ", ".join(open_ones["measure"].unique().sort().head(5))
            notes.append(words.format(count=f"{open_ones.height:,} row{'s' * (open_ones.height > 1)}", named=named))
    return Output(changed.to_dicts(), "\n".join([compared_text(changed, each=each), *notes]))
