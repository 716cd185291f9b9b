"""`reliquant check`: a gate for CI, whether variants hold what is wished of them, and with what confidence."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from reliquant.cli.check_text import checked_text
from reliquant.cli.junit import junit_of, junit_of_error
from reliquant.cli.output import Output
from reliquant.cli.words import writable
from reliquant.deploy.measured import rows_of
from reliquant.files.artifacts import whole
from reliquant.files.stored_frames import errors_named
from reliquant.progress import message_of
from reliquant.report.against import compares, differences
from reliquant.report.bounds import errors_of
from reliquant.report.choice import names, near, partners, variants
from reliquant.report.frames import VARIANT
from reliquant.report.gate import CODES, Line, checked, wishes_of, worst

EXAMPLE = "reliquant check results/lab/rows.parquet --scheme rtn --precision w8a8 --wish 'accuracy_change >= -0.02'"
CHOICES = ("model", "scheme", "precision", "scope", "proxy", "seed")
CODES_TOLD = (
    "exit code: 0 every wish holds, 1 one fails, 2 none fails and one cannot be told, 3 bad input (nothing was judged)"
)


def add_words(parser: argparse.ArgumentParser, /) -> None:
    """Add what the subcommand takes."""
    parser.description = f"{__doc__} {CODES_TOLD}."
    parser.add_argument("rows", type=Path, help="a table of rows, of a study or of `--rows`, or an exported folder")
    wish = "such as 'accuracy_change >= -0.01' 'ood:auroc >= 0.8' 'bytes <= 100000000' 'latency <= 5'; all must hold"
    parser.add_argument("--wish", nargs="+", action="extend", required=True, help=wish)  # said twice, both count
    parser.add_argument("--confidence", type=float, default=0.95, help="of each verdict that a wish holds, or fails")
    parser.add_argument("--variant", nargs="+", default=[], help="words of it: --variant rtn w8a8; by default all")
    for word in CHOICES:
        parser.add_argument(f"--{word}", nargs="+", default=[], help="only variants with one of these")
    parser.add_argument("--dataset", nargs="+", default=[], help="only these sets; by default all of a wish's suite")
    other = "another table or folder: a wish of X_change is then about X of ROWS less X of OTHER, paired by image"
    parser.add_argument("--against", type=Path, metavar="OTHER", help=other)
    one = "words of the variant of OTHER; by default the same one, but for the runtime behind an @, or the only one"
    parser.add_argument("--against-variant", nargs="+", default=[], help=one)
    parser.add_argument("--junit", type=Path, help="also write JUnit XML: fails is a failure, cannot tell an error")
    parser.add_argument("--json", action="store_true")


def run(*, junit: Path | None, **words: Any) -> Output:
    """Judge every wish of every chosen variant; an error is kept in the JUnit file, too, in place of an older one."""
    if junit is not None:
        writable(junit, "--junit", *filter(None, [words["rows"], words["against"]]))
    try:
        output = _judged(**words)
    except Exception as error:
        if junit is not None:
            _write(junit, junit_of_error(str(words["rows"]), message_of(error)))
        raise
    if junit is not None:
        _write(junit, junit_of(output.data))
    return output


def _judged(
    *,
    rows: Path,
    wish: Sequence[str],
    confidence: float,
    variant: Sequence[str],
    dataset: Sequence[str],
    against: Path | None,
    against_variant: Sequence[str],
    **chosen: Sequence[str],
) -> Output:
    wishes = wishes_of(wish)
    errors_of(confidence)  # told before tables are read
    if against_variant and against is None:
        raise ValueError("--against-variant: names a variant of --against, which is not given")
    if against is not None and not any(map(compares, wishes)):
        raise ValueError("--against: no wish is about a change, so nothing is compared; wish for accuracy_change, say")
    frame = _on_sets(rows_of(rows), dataset, rows)
    with errors_named(rows):
        own = variants(frame, chosen, variant)
    other, others = None, None
    if against is not None:
        other = _on_sets(rows_of(against), dataset, against)
        with errors_named(against):
            others = partners(own, variants(other, {}, against_variant))
    lines: list[list[Line]] = []
    for one in wishes:
        if other is not None and others is not None and compares(one):
            tables = [(str(path), table) for path, table in ((rows, frame), (against, other))]
            lines.append(differences(*tables, one, [own, others], confidence=confidence))
        else:
            with errors_named(rows):
                lines.append(checked(frame, one, own, confidence=confidence))
    return _output(str(rows), own, str(against) if against else None, others, lines, confidence)


def _on_sets(rows: pl.DataFrame, datasets: Sequence[str], path: Path) -> pl.DataFrame:
    """Leave rows of other sets out; raise ValueError for a set that there is none of."""
    there = set(rows["dataset"].cast(pl.String))
    for name in datasets:
        if name not in there:
            raise ValueError(f"{path}: --dataset {name}: no row is of this set; {near(name, there)}")
    return rows.filter(pl.col("dataset").is_in([*datasets, ""])) if datasets else rows


def _output(
    rows: str,
    own: pl.DataFrame,
    against: str | None,
    others: pl.DataFrame | None,
    lines: Sequence[Sequence[Line]],
    confidence: float,
) -> Output:
    """Return what was found: data, text, and the exit code that says it."""
    found: list[dict[str, Any]] = []
    titles, less = names(own), names(others) if others is not None else [None] * own.height
    each = zip(titles, less, own.iter_rows(named=True), zip(*lines, strict=True), strict=True)
    for name, other, line, judged in each:
        words = {word: line[word] for word in VARIANT}
        verdict = worst([one.verdict for one in judged])
        found.append({"name": name, "against": other, "variant": words, "verdict": verdict})
        found[-1]["wishes"] = [vars(one) for one in judged]
    verdict = worst([one["verdict"] for one in found])
    data = {"rows": rows, "against": against, "confidence": confidence, "verdict": verdict, "code": CODES[verdict]}
    data["variants"] = found
    return Output(data, checked_text(data), CODES[verdict])


def _write(path: Path, text: str) -> None:
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")
