"""Calibration by method: ECE, NLL, Brier and confidence, native and with the logit scale tuned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from reliquant.report import frames, stored_bits, tabling
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Calibration by method and precision"
QUESTION, PLACE = "calibration", 1
READ = (
    "Mean changes to FP32 over models, scopes, seeds and in-distribution sets of a source: ECE, Brier and the gap of "
    "confidence and accuracy in points, NLL in hundredths of a nat; 'tuned': after re-fitting the logit scale. ECE is "
    "as published, without an interval; whether calibration changed is told by the debiased squared error (CE², in "
    "points squared)."
)
MEASURES = {
    "ECE": "ece_change",
    "CE²": "squared_ce_change",
    "Brier": "brier_change",
    "NLL": "nll_change",
    "gap": "confidence_gap_change",
}
COLUMNS = {
    f"{name}{', tuned' if scale == 'tuned' else ''}": (measure, scale)
    for scale in ("native", "tuned")
    for name, measure in MEASURES.items()
}
SQUARED = [name for name, (measure, _) in COLUMNS.items() if measure == "squared_ce_change"]
KEYS = ["source", "family", "scheme", "precision"]


def where(column: str, line: Mapping[str, Any], /) -> dict[str, str] | None:
    """Name the rows behind a cell."""
    if column not in COLUMNS:
        return None
    measure, scale = COLUMNS[column]
    of = {"source": line["source"], "scheme": line["scheme"], "precision": line["precision"].lower()}
    return {"suite": "clean", "measure": measure, "scale": scale, **of}


def table(rows: Rows, /) -> pl.DataFrame:
    """List the mean changes; raise NothingToDraw without quantized variants."""
    shown = None
    for scale in ("native", "tuned"):
        measured = frames.quantized(frames.select(rows, MEASURES.values(), scale=scale))
        means = frames.mean_of_runs(frames.mean_of_sets(measured), [*KEYS, "measure"])
        for name, (measure, of) in COLUMNS.items():
            part = means.filter(measure=measure)
            if of == scale and part.height:
                column = part.select(*KEYS, frames.CELL.alias(name))
                shown = column if shown is None else shown.join(column, on=KEYS, how="full", coalesce=True)
    if shown is None:
        raise NothingToDraw("no quantized variant has a change of calibration to FP32")
    order = {p: i for i, p in enumerate(frames.ordered_precisions(shown))}
    shown = stored_bits.beside(shown, rows, KEYS)
    shown = shown.sort("source", pl.col("precision").replace_strict(order), stored_bits.FEWEST, "family", "scheme")
    named = [name for name in COLUMNS if name in shown.columns]
    shown = tabling.changes(shown, named, factors=dict.fromkeys(SQUARED, tabling.SQUARES))
    for name in COLUMNS:
        if name in shown.columns and not name.startswith("gap"):
            shown = tabling.best(shown, name, highest=False, by=("source", "precision"))
    return shown.with_columns(pl.col("precision").str.to_uppercase()).fill_null("")
