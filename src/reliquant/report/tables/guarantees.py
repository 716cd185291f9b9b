"""Prediction sets whose thresholds were set in FP32: coverage and size after quantization, clean and shifted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from reliquant.report import frames, stored_bits, tabling
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Does a guarantee that was set up in FP32 hold?"
QUESTION, PLACE = "calibration", 3
READ = (
    "Conformal prediction sets whose threshold FP32's clean images set so that 90 % of the sets hold the true class: "
    "which share does of the quantized model, on clean, shifted and corrupted images, and the change from FP32 with "
    "the same threshold, in points; change of the number of classes in a hundred sets. Mean over models, methods, "
    "scopes, seeds and sets. Changes of coverage on shifted images are those that quantization adds."
)
COVERAGE, SIZE = "conformal_coverage_90_fp32", "conformal_size_90_fp32"
LEVELS = {"clean": COVERAGE, "shifted": COVERAGE, "noise": COVERAGE}
CHANGES = {f"change, {name}": f"{measure}_change" for name, measure in LEVELS.items()}
SIZES = {"change of size, clean": f"{SIZE}_change"}
SUITES = {"clean": "clean", "shifted": "shift", "noise": "noise"}  # of the word that a column's name ends with


def where(column: str, line: Mapping[str, Any], /) -> dict[str, str] | None:
    """Name the rows behind a cell."""
    measures = LEVELS | CHANGES | SIZES
    if column not in measures:
        return None
    of = {"precision": line["precision"].lower(), "family": line["family"]}
    return {"suite": _suite(column), "measure": measures[column], **of}


def table(rows: Rows, /) -> pl.DataFrame:
    """List coverages and changes; raise NothingToDraw without prediction sets."""
    shown = None
    for name, measure in (LEVELS | CHANGES | SIZES).items():
        measured = frames.quantized(frames.select(rows, measure, suite=_suite(name)))
        if measured.is_empty():
            continue
        means = frames.mean_of_runs(frames.mean_of_sets(measured), ["precision", "family"])
        column = means.select("precision", "family", frames.CELL.alias(name))
        shown = column if shown is None else shown.join(column, on=["precision", "family"], how="full", coalesce=True)
    if shown is None:
        raise NothingToDraw("the records hold no counts of classes, from which prediction sets follow")
    changed = [name for name in (*CHANGES, *SIZES) if name in shown.columns]
    shown = tabling.changes(shown, changed)
    known = [name for name in LEVELS if name in shown.columns]
    levels = [pl.col(name).struct["value"].map_elements(tabling.number, pl.String).alias(name) for name in known]
    order = {p: i for i, p in enumerate(frames.ordered_precisions(shown))}
    shown = stored_bits.beside(shown.with_columns(levels), rows, ["precision", "family"])
    shown = shown.sort(pl.col("precision").replace_strict(order), stored_bits.FEWEST, "family").fill_null("")
    return shown.with_columns(pl.col("precision").str.to_uppercase())


def _suite(column: str) -> str:
    """Return the suite that a column is about, by the last word of its name."""
    return SUITES[column.split()[-1]]
