"""Detection of what was never seen: FP32 values and changes by score and OOD set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from reliquant.report import frames, stored_bits, tabling
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Out-of-distribution detection by score and set"
QUESTION, PLACE = "ood", 1
READ = (
    "AUROC and FPR95 (in-distribution as positive) of FP32 in %, then the mean change of AUROC and FPR95 in points at "
    "each precision, over models, methods, scopes and seeds."
)
KEYS = ["source", "reference", "group", "dataset", "score"]
NAMES = {"auroc": ("AUROC", True), "fpr95_id_positive": ("FPR95", False)}


def where(column: str, line: Mapping[str, Any], /) -> dict[str, str] | None:
    """Name the rows behind a cell."""
    name, _, precision = column.partition(", ")
    measure = next((m for m, (n, _) in NAMES.items() if n == name), None)
    if measure is None:
        return None
    of = {"reference": line["in-distribution"], "dataset": line["OOD set"], "score": line["score"]}
    of |= {
        "suite": "ood",
        "source": line["source"],
        "group": line["distance"],
        "precision": stored_bits.precision_of(precision),
    }
    return of | {"measure": measure if precision == "FP32" else f"{measure}_change"}


def table(rows: Rows, /) -> pl.DataFrame:
    """List detection by source, set and score; raise NothingToDraw without an OOD suite."""
    measured = frames.select(rows, [m + end for m in NAMES for end in ("", "_change")], suite="ood")
    if measured.is_empty():
        raise NothingToDraw("the study asks no OOD sets")
    fp32 = frames.mean_of_runs(measured.filter(scheme="fp32"), [*KEYS, "measure"])
    changes = frames.mean_of_runs(frames.quantized(measured), [*KEYS, "precision", "measure"])
    shown = measured.select(KEYS).unique()
    for measure, (name, _) in NAMES.items():
        column = fp32.filter(measure=measure).select(
            *KEYS, pl.col("value").map_elements(tabling.number, pl.String).alias(f"{name}, FP32")
        )
        shown = shown.join(column, on=KEYS, how="left")
    titles: list[str] = []
    named = stored_bits.by_precision(rows)
    for precision in frames.ordered_precisions(frames.quantized(measured)):
        for measure, (name, _) in NAMES.items():
            part = changes.filter(precision=precision, measure=f"{measure}_change")
            titles.append(f"{name}, {named.get(precision, precision.upper())}")
            column = part.select(*KEYS, frames.CELL.alias(titles[-1]))
            shown = shown.join(column, on=KEYS, how="left")
    shown = tabling.changes(shown, titles)
    shown = shown.sort("source", "reference", pl.col("group") != "near", "dataset", "score").fill_null("")
    for title in shown.columns[len(KEYS) :]:
        shown = tabling.best(shown, title, highest=title.startswith("AUROC"), by=tuple(KEYS[:-1]))
    return shown.rename({"reference": "in-distribution", "dataset": "OOD set", "group": "distance"})
