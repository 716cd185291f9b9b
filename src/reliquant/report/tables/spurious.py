"""Reliance on spurious cues: change of RSG and Vuln_add by precision and family, with stars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from reliquant.report import frames, stored_bits, tabling
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Reliance on spurious cues by precision and family"
QUESTION, PLACE = "robustness", 1
READ = (
    "Change of the relative spurious gap (RSG) and Vuln_add, what the group without the cue lost beyond the group with "
    "it, in points; mean over models, methods, scopes, seeds and sets. Best is the smallest of a precision."
)
COLUMNS = {"Delta RSG": "rsg_change", "Vuln_add": "vuln_add", "worst group": "worst_group_accuracy_change"}


def where(column: str, line: Mapping[str, Any], /) -> dict[str, str] | None:
    """Name the rows behind a cell."""
    if column not in COLUMNS:
        return None
    of = {"precision": line["precision"].lower(), "family": line["family"]}
    return {"suite": "spurious", "measure": COLUMNS[column], **of}


def table(rows: Rows, /) -> pl.DataFrame:
    """List the changes; raise NothingToDraw without a spurious suite."""
    measured = frames.quantized(frames.select(rows, COLUMNS.values(), suite="spurious"))
    if measured.is_empty():
        raise NothingToDraw("the study asks no sets with a spurious cue (groups common and counter)")
    means = frames.mean_of_runs(frames.mean_of_sets(measured), ["precision", "family", "measure"])
    order = {p: i for i, p in enumerate(frames.ordered_precisions(means))}
    shown = means.select("precision", "family").unique()
    for name, measure in COLUMNS.items():
        part = means.filter(measure=measure)
        column = part.select("precision", "family", frames.CELL.alias(name))
        if part.height:
            shown = shown.join(column, on=["precision", "family"], how="left")
    shown = tabling.changes(shown, [name for name in COLUMNS if name in shown.columns])
    shown = stored_bits.beside(shown, rows, ["precision", "family"])
    shown = shown.sort(pl.col("precision").replace_strict(order), stored_bits.FEWEST, "family").fill_null("")
    for name in COLUMNS:
        if name in shown.columns:
            shown = tabling.best(shown, name, highest=name == "worst group", by=("precision",))
    return shown.with_columns(pl.col("precision").str.to_uppercase())
