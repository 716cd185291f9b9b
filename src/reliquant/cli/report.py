"""`reliquant report`: the page, figures and tables of rows alone, of a study or of `reliquant measure --rows`."""

from __future__ import annotations

import argparse
from pathlib import Path

from reliquant.cli.output import Output
from reliquant.cli.words import positive
from reliquant.report.written import write_report
from reliquant.study import paths

EXAMPLE = "reliquant report results/lab/rows.parquet --output report"


def add_words(parser: argparse.ArgumentParser, /) -> None:
    """Add what the subcommand takes."""
    parser.add_argument("rows", type=Path, help="rows.parquet of a study, or of `reliquant measure --rows`")
    parser.add_argument("--output", type=Path, required=True, help="the report's folder; made where it is not there")
    parser.add_argument("--processes", type=positive, default=1, help="that draw side by side")
    parser.add_argument("--json", action="store_true")


def run(*, rows: Path, output: Path, processes: int) -> Output:
    """Write the report of rows into a folder; say what these rows have nothing for."""
    if output.exists() and not output.is_dir():
        raise NotADirectoryError(f"--output {output}: is a file; name a folder")
    made = write_report(rows, None, output, processes=processes)
    page, shown = paths.page(output), [piece for piece in made if not piece.absent]
    count = {kind: sum(piece.kind == kind for piece in shown) for kind in ("figure", "table")}
    lines = [f"{page}: {count['figure']} figures and {count['table']} tables"]
    absent = {piece.name: piece.absent for piece in made if piece.absent}
    if absent:
        lines += ["not shown, as these rows have nothing for it:"]
        lines += [f"  {name}: {why}" for name, why in absent.items()]
    found = {"page": str(page), "pieces": [piece.name for piece in shown], "absent": absent}
    return Output(found, "\n".join(lines))
