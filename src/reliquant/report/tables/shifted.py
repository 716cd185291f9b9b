"""Accuracy on each shifted set and under each corruption: FP32 and the change at each precision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from reliquant.report import frames, stored_bits, tabling
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Accuracy under covariate shift and noise"
QUESTION, PLACE = "robustness", 2
READ = (
    "Top-1 accuracy of FP32 in %, then the mean change in points at each precision, over models, methods, scopes and "
    "seeds of a source. Noise is the mean over corruptions and severities."
)
KEYS = ["source", "set"]


def where(column: str, line: Mapping[str, Any], /) -> dict[str, str] | None:
    """Name the rows behind a cell."""
    if column in KEYS:
        return None
    noise = line["set"].startswith("noise on ")
    of = {"source": line["source"], "dataset": line["set"].removeprefix("noise on ")}
    measure = "accuracy" if column == "FP32" else "accuracy_change"
    return {
        "suite": "noise" if noise else "shift",
        "measure": measure,
        "precision": stored_bits.precision_of(column),
        **of,
    }


def table(rows: Rows, /) -> pl.DataFrame:
    """List sets by source; raise NothingToDraw without a shift or noise suite."""
    parts = [
        frames.select(rows, ["accuracy", "accuracy_change"], suite=suite).with_columns(
            set=pl.lit("noise on " if suite == "noise" else "") + pl.col("dataset")
        )
        for suite in ("shift", "noise")
    ]
    accuracies = pl.concat(parts)
    if frames.quantized(accuracies).is_empty():
        raise NothingToDraw("the study asks no shifted sets and no corruptions")
    means = frames.mean_of_runs(accuracies, [*KEYS, "precision", "measure"])
    shown = means.select(KEYS).unique()
    titles = stored_bits.by_precision(rows)
    for precision in frames.ordered_precisions(means):
        fp32 = precision == "fp32"
        part = means.filter(precision=precision, measure="accuracy" if fp32 else "accuracy_change")
        cell = pl.col("value").map_elements(tabling.number, pl.String) if fp32 else frames.CELL
        column = part.select(*KEYS, cell.alias(titles.get(precision, precision.upper())))
        shown = shown.join(column, on=KEYS, how="left")
    shown = tabling.changes(shown, [c for c in shown.columns[len(KEYS) :] if c != "FP32"])
    shown = shown.sort("source", pl.col("set").str.starts_with("noise"), "set").fill_null("")
    for name in shown.columns[len(KEYS) + 1 :]:
        shown = tabling.best(shown, name, highest=True, by=("source",))
    return shown
