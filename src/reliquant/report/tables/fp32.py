"""The FP32 models: what quantization starts from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from reliquant.report import frames, tabling
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "FP32 models"
QUESTION, PLACE = "models", 1
READ = (
    "All values in % but NLL; confidence minus accuracy above zero is over-confidence. ECE is as published, without an "
    "interval: beside it what a calibrated model of these confidences would show at this number of images, and the "
    "root of the debiased squared error."
)
COLUMNS = {
    "accuracy": ("top-1", True),
    "top5_accuracy": ("top-5", True),
    "ece": ("ECE", False),
    "ece_if_calibrated": ("ECE if calibrated", None),
    "rms_ce": ("debiased CE", False),
    "nll": ("NLL", False),
    "brier": ("Brier", False),
    "confidence_gap": ("confidence - accuracy", None),
}


def where(column: str, line: Mapping[str, Any], /) -> dict[str, str] | None:
    """Name the rows behind a cell."""
    measure = next((m for m, (name, _) in COLUMNS.items() if name == column), None)
    of = {} if line["dataset"] == "mean" else {"dataset": line["dataset"]}
    if measure is None:
        return None
    return {"suite": "clean", "scheme": "fp32", "measure": measure, "model": line["model"], **of}


def table(rows: Rows, /) -> pl.DataFrame:
    """List each FP32 model on each in-distribution set, and its mean over several; raise NothingToDraw without rows."""
    measured = frames.select(rows, COLUMNS, scheme="fp32")
    if measured.is_empty():
        raise NothingToDraw("there are no FP32 rows on a clean set")
    sets = frames.wide(measured, "dataset")
    mean = frames.wide(frames.mean_of_sets(measured)).with_columns(dataset=pl.lit("mean"))
    several = sets["dataset"].n_unique() > 1
    frame = pl.concat([sets, mean] if several else [sets], how="diagonal_relaxed").sort(
        "source", "model", pl.col("dataset") == "mean", "dataset"
    )
    shown = frame.select(
        "source", "model", "dataset", *(_cell(frame, m, n) for m, (n, _) in COLUMNS.items() if m in frame.columns)
    )
    for measure, (name, highest) in COLUMNS.items():
        if measure in frame.columns and highest is not None:
            shown = tabling.best(shown, name, highest=highest, by=("dataset",))
    return shown


def _cell(frame: pl.DataFrame, measure: str, name: str) -> pl.Series:
    """Write a measure of all lines with its interval, as a column of the table."""
    factor, digits = (1.0, 3) if measure == "nll" else (100.0, 1)

    def number(value: float | None) -> str:
        return tabling.number(value, factor=factor, digits=digits, sign=measure == "confidence_gap")

    def with_interval(value: float | None, low: float | None, high: float | None) -> str:
        text = number(value)
        return text if not text or low is None or high is None else f"{text} [{number(low)}, {number(high)}]"

    ends = zip(frame[measure], frame[f"{measure}_low"], frame[f"{measure}_high"], strict=True)
    return pl.Series(name, [with_interval(*triple) for triple in ends], dtype=pl.String)
