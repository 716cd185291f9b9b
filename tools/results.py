"""Results of studies as tables that people contribute: written from a study's rows, checked, and shown on one page.

    python tools/results.py add results/lab/rows.parquet    # writes a table, docs/results/studies/lab.csv
    python tools/results.py check                           # every table there: a line and exit code 1 for a problem
    python tools/results.py page                            # docs/results/studies/index.html, opened from the disk

`docs/results/studies/README.md` explains the columns and how to contribute.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from reliquant.download.http import sha256_of
from reliquant.files.artifacts import read_sealed_json, whole
from reliquant.files.stored_frames import read_rows
from reliquant.grid import parse_precision
from reliquant.names import name_problem
from reliquant.report.escaping import csv, csv_cell
from reliquant.study import paths

STUDIES = Path(__file__).resolve().parents[1] / "docs" / "results" / "studies"
LARGEST, LONGEST, LINES = 8 << 20, 120, 100_000  # bytes of a table, letters of a cell, lines of a table
SHARE, CHANGE = (0.0, 1.0), (-1.0, 1.0)
RANGES = {  # measure -> the least and the largest value; each but the sizes has a `_change` to FP32
    "accuracy": SHARE,
    "ece": SHARE,
    "brier": (0.0, 2.0),
    "auroc": SHARE,
    "worst_group_accuracy": SHARE,
    "recall_at_1": SHARE,
    "recall_at_10": SHARE,
}
MEASURES = RANGES | {f"{name}_change": (low - high, high - low) for name, (low, high) in RANGES.items()}
MEASURES |= {"agreement": SHARE, "bytes": (1.0, math.inf), "stored_bits": (0.0, 64.0), "quantized_weight_share": SHARE}
VARIANT = (
    "study",
    "model",
    "architecture",
    "pretrained",
    "source",
    "scheme",
    "family",
    "precision",
    "scope",
    "proxy",
    "seed",
)
PLACE = ("suite", "dataset", "reference", "group", "score", "measure")
NUMBERS = ("value", "low", "high", "p", "n")
COLUMNS = (*VARIANT, *PLACE, *NUMBERS, "version", "rows_sha256")
SUITES = ("", "clean", "ood", "shift", "noise", "spurious", "retrieval")  # of the variant itself, and of sets
NAMES = ("study", "model", "scheme", "scope", "proxy")  # plain names; the rest of the texts is free
SHOWN = (
    "accuracy",
    "accuracy_change",
    "ece",
    "ece_change",
    "auroc",
    "auroc_change",
    "recall_at_1",
    "recall_at_1_change",
)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    words = parser.add_subparsers(dest="word", required=True)
    words.add_parser("add", help="write the table of a study").add_argument("rows", type=Path)
    words.add_parser("check", help="check all tables")
    words.add_parser("page", help="write the page")
    args = parser.parse_args()
    if args.word == "add":
        print(add(args.rows))
    problems = [f"{file.name}: {problem}" for file in tables() for problem in problems_of(file)]
    if problems:
        sys.exit("\n".join(problems))
    if args.word == "page":
        with whole(STUDIES / "index.html") as part:
            part.write_text(page())


def tables() -> list[Path]:
    """List the tables, by name."""
    return sorted(STUDIES.glob("*.csv"))


def add(rows: Path, /) -> Path:
    """Write the table of a study from its rows and the `facts.json` beside them; return its path."""
    frame = read_rows(rows)
    (study,) = frame["study"].unique().to_list()
    facts = read_sealed_json(rows.with_name(Path(paths.facts(study)).name))
    table = table_of(frame, facts["models"], facts["versions"]["reliquant"], sha256_of(rows))
    target = STUDIES / f"{study}.csv"
    with whole(target) as part:
        part.write_text(csv(table))
    return target


def table_of(rows: pl.DataFrame, models: dict[str, Any], version: str, digest: str, /) -> pl.DataFrame:
    """Return the lines of a table: finished variants with their own logit scale, means over corruptions."""
    plain = (pl.col("scale") == "native") & pl.col("iteration").is_null() & pl.col("value").is_not_null()
    plain &= (pl.col("severity").fill_null(0) == 0) & pl.col("corruption").is_in(["", "mean"])
    plain &= pl.col("suite").is_in(SUITES) & ((pl.col("suite") != "retrieval") | (pl.col("score") == ""))
    known = pl.DataFrame(
        {
            "model": list(models),
            "architecture": [str(facts.get("architecture") or "") for facts in models.values()],
            "pretrained": [str(facts.get("pretrained") or "") for facts in models.values()],
        }
    )
    return (
        rows.filter(plain, pl.col("measure").is_in(list(MEASURES)))
        .join(known, on="model", how="left")
        .with_columns(pl.col("value", "low", "high", "p").round_sig_figs(6), version=pl.lit(version))
        .with_columns(rows_sha256=pl.lit(digest))
        .select(COLUMNS)
        .sort(*VARIANT, *PLACE)
        .with_columns(pl.col(pl.String).replace("", None))  # written as nothing, not as quotes
    )


def problems_of(file: Path, /) -> Iterator[str]:
    """Say what is wrong with a table, a line for each kind of problem with the first line that has it."""
    if file.stat().st_size > LARGEST:
        yield f"has more than {LARGEST >> 20} MiB"
        return
    try:
        table = read_table(file)
    except (pl.exceptions.PolarsError, UnicodeDecodeError, ValueError) as error:
        yield str(error).partition("\n")[0]
        return
    if not 0 < table.height <= LINES:
        yield f"has {table.height} lines; from 1 to {LINES} are allowed"
        return
    yield from _text_problems(file, table)
    yield from _number_problems(table)
    repeated = table.filter(table.select(*VARIANT, *PLACE).is_duplicated())
    yield from _first(repeated, "says the same thing twice")
    baselines = set(table.filter(pl.col("scheme") == "fp32")["model"])
    yield from _first(table.filter(~pl.col("model").is_in(baselines)), "is of a model without lines of its FP32")


def read_table(file: Path, /) -> pl.DataFrame:
    """Read a table with a column `line`; raise ValueError where a column is missing or a number is none."""
    table = pl.read_csv(file, infer_schema=False).fill_null("")
    if table.columns != list(COLUMNS):
        raise ValueError(f"must have the columns {','.join(COLUMNS)}, in this order")
    table = table.with_row_index("line", 2)
    for name in (*NUMBERS, "seed"):
        kind = pl.Int64 if name in ("n", "seed") else pl.Float64
        numbers = table[name].replace("", None).cast(kind, strict=False)
        wrong = table.filter(numbers.is_null() & (pl.col(name) != ""))
        if wrong.height:
            raise ValueError(f"line {wrong['line'][0]}: {name}: must be a number, got {wrong[name][0][:LONGEST]!r}")
        table = table.with_columns(numbers.alias(name))
    return table


def _text_problems(file: Path, table: pl.DataFrame) -> Iterator[str]:
    """Say which words are no names, precisions, versions or digests, and which begin like a formula."""
    if set(table["study"]) != {file.stem}:
        yield f"study: must be {file.stem}, as the file is called"
    for name in NAMES:
        yield from _words(table, name, name_problem)
    yield from _words(table, "precision", _precision_problem)
    yield from _words(
        table, "measure", lambda word: "" if word in MEASURES else f"must be one of {', '.join(MEASURES)}"
    )
    yield from _words(table, "version", lambda word: "" if re.fullmatch(r"\d+(\.\d+)+\w*", word) else "must read 0.1.0")
    yield from _words(table, "suite", lambda word: "" if word in SUITES else f"must be one of {', '.join(SUITES[1:])}")
    digest = re.compile("[0-9a-f]{64}")
    yield from _words(table, "rows_sha256", lambda word: "" if digest.fullmatch(word) else "must be a sha256 in hex")
    for name in (*VARIANT[:-1], *PLACE):
        yield from _words(table, name, _cell_problem)


def _precision_problem(word: str) -> str:
    try:
        if word != "fp32":
            parse_precision(word)
    except ValueError as error:
        return str(error)
    return ""


def _cell_problem(word: str) -> str:
    if len(word) > LONGEST:
        return f"must have at most {LONGEST} letters"
    return "" if csv_cell(word) == word else "must not begin like a formula, nor have signs that no screen shows"


def _words(table: pl.DataFrame, column: str, problem_of: Any) -> Iterator[str]:
    for word in table[column].unique(maintain_order=True):
        if problem := problem_of(word):
            line = table.filter(pl.col(column) == word)["line"][0]
            yield f"line {line}: {column}: {problem}, got {word[:LONGEST]!r}"
            return


def _number_problems(table: pl.DataFrame) -> Iterator[str]:
    """Say which values are out of their measure's range, and which intervals, p and n are none."""
    for measure, (low, high) in MEASURES.items():
        beyond = ~pl.col("value").is_between(low, high) | ~pl.col("value").is_finite() | pl.col("value").is_null()
        found = table.filter(pl.col("measure") == measure).filter(beyond)
        yield from _first(found, f"has a value of {measure} that is not from {low:g} to {high:g}")
    half = pl.col("low").is_null() != pl.col("high").is_null()
    yield from _first(table.filter(half | (pl.col("low") > pl.col("high"))), "has an interval that is none")
    yield from _first(table.filter(~pl.col("p").is_between(0, 1)), "has a p that is not from 0 to 1")
    measured = pl.col("suite") != ""  # the rest are sizes of a variant
    yield from _first(table.filter(measured & (pl.col("n").fill_null(0) < 1)), "has no n, the number of images")


def _first(found: pl.DataFrame, told: str) -> Iterator[str]:
    if found.height:
        yield f"line {found['line'][0]} {told}" + (f"; so do {found.height - 1} more" if found.height > 1 else "")


def page() -> str:
    """Return the page of all tables: a line for each variant and set, with what is shown of it."""
    lines = []
    for file in tables():
        table = read_table(file).filter(pl.col("measure").is_in(list(SHOWN)))
        place = [*VARIANT, *PLACE[:-1], "version"]
        for words, group in table.group_by(place, maintain_order=True):
            found = {row["measure"]: row for row in group.iter_rows(named=True)}
            lines.append((words, [_shown(name, found.get(name)) for name in SHOWN], max(group["n"])))
    template = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    ).get_template("results.html")
    return template.render(
        columns=[*VARIANT, *PLACE[:-1], "version"], shown=SHOWN, lines=lines, files=[f.name for f in tables()]
    )


def _shown(measure: str, row: dict[str, Any] | None) -> tuple[float | str, str]:
    """Return a value to sort by, and what is shown: in points, with its interval."""
    if row is None:
        return "", ""
    sign = "+" if measure.endswith("_change") else ""
    interval = "" if row["low"] is None else f" [{100 * row['low']:{sign}.1f}, {100 * row['high']:{sign}.1f}]"
    return row["value"], f"{100 * row['value']:{sign}.1f}{interval}"


if __name__ == "__main__":
    main()
