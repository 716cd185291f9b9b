"""The main result: every scheme at every precision and scope, by source, as changes to FP32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from reliquant.report import frames, stored_bits, tabling
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Changes to FP32 by method, precision, scope and source"
QUESTION, PLACE = "headline", 1
READ = (
    "Mean over models, seeds and test sets, in points (100 times the fraction); of AUROC over all OOD sets and scores, "
    "of noise over corruptions and severities; 'tuned': after re-fitting the logit scale. ECE is as published, without "
    "an interval; whether calibration changed is told by the debiased squared error beside it (CE², in points squared: "
    "from 5 to 6 points is +11)."
)
COLUMNS = {
    "accuracy": ("clean", "accuracy_change", "native", True),
    "ECE": ("clean", "ece_change", "native", False),
    "CE²": ("clean", "squared_ce_change", "native", False),
    "ECE, tuned": ("clean", "ece_change", "tuned", False),
    "CE², tuned": ("clean", "squared_ce_change", "tuned", False),
    "Brier": ("clean", "brier_change", "native", False),
    "AUROC": ("ood", "auroc_change", "native", True),
    "accuracy, shifted": ("shift", "accuracy_change", "native", True),
    "accuracy, noise": ("noise", "accuracy_change", "native", True),
    "RSG": ("spurious", "rsg_change", "native", False),
}
SQUARED = [name for name, (_, measure, *_) in COLUMNS.items() if measure == "squared_ce_change"]
KEYS = ["source", "family", "scheme", "precision", "scope"]


def where(column: str, line: Mapping[str, Any], /) -> dict[str, str] | None:
    """Name the rows behind a cell."""
    if column not in COLUMNS:
        return None
    suite, measure, scale, _ = COLUMNS[column]
    of = {k: line[k] for k in ("source", "scheme", "scope")} | {"precision": line["precision"].lower()}
    return {"suite": suite, "measure": measure, "scale": scale, **of}


def table(rows: Rows, /) -> pl.DataFrame:
    """List the mean changes, without the columns that the rows lack; raise NothingToDraw without quantized variants."""
    shown = None
    for name, (suite, measure, scale, _) in COLUMNS.items():
        measured = frames.quantized(frames.select(rows, measure, suite=suite, scale=scale))
        if measured.height:
            means = frames.mean_of_runs(frames.mean_of_sets(measured), KEYS)
            column = means.select(*KEYS, frames.CELL.alias(name))
            shown = column if shown is None else shown.join(column, on=KEYS, how="full", coalesce=True)
    if shown is None:
        raise NothingToDraw("no quantized variant has a change to FP32")
    order = {p: i for i, p in enumerate(frames.ordered_precisions(shown))}
    shown = stored_bits.beside(shown, rows, KEYS)
    places = ["source", pl.col("precision").replace_strict(order), "scope", stored_bits.FEWEST, "family", "scheme"]
    shown = shown.sort(places)
    named = [name for name in COLUMNS if name in shown.columns]
    shown = tabling.changes(shown, named, factors=dict.fromkeys(SQUARED, tabling.SQUARES))
    for name, (*_, highest) in COLUMNS.items():
        if name in shown.columns:
            shown = tabling.best(shown, name, highest=highest, by=("source", "precision", "scope"))
    return shown.with_columns(pl.col("precision").str.to_uppercase()).fill_null("")
