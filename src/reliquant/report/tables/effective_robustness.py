"""Accuracy under shift above what the clean accuracy predicts."""

from __future__ import annotations

import polars as pl

from reliquant.measures import shift
from reliquant.report import frames, tabling
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Effective robustness"
QUESTION, PLACE = "robustness", 5
READ = (
    "Accuracy on a shifted set minus what a line through the FP32 models, on logit axes, predicts from the accuracy on "
    "the clean set; in points, mean over models and seeds, and its change to FP32. Above zero: more robust than the "
    "clean accuracy says. Few FP32 models make an uncertain line; the intervals leave its uncertainty out."
)
KEYS = ["dataset", "family", "scheme", "precision", "scope"]


def table(rows: Rows, /) -> pl.DataFrame:
    """List effective robustness by shifted set and scheme; raise NothingToDraw without two FP32 models and a shift."""
    shifted = frames.select(rows, "accuracy", suite="shift")
    clean = frames.select(rows, "accuracy").rename({"dataset": "reference", "reference": "_"}, strict=False)
    if shifted.is_empty():
        raise NothingToDraw("the study asks no shifted sets")
    of = [*frames.VARIANT, "reference"]
    both = shifted.join(clean.select(*of, clean="value"), on=of, how="inner")
    parts = [_of_set(part) for _, part in both.group_by("dataset", maintain_order=True)]
    kept = [part for part in parts if part is not None]
    if not kept:
        raise NothingToDraw("a line needs FP32 models of at least two clean accuracies")
    runs = pl.concat(kept)
    base = runs.filter(scheme="fp32").select("dataset", "model", fp32="value")
    changed = frames.quantized(runs).join(base, on=["dataset", "model"]).with_columns(pl.col("value") - pl.col("fp32"))
    changed = changed.drop("low", "high", "replicates").join(
        _accuracy_changes(rows), on=[*frames.VARIANT, "dataset"], how="left"
    )
    ends = {end: pl.col("value") + pl.col(f"{end}_c") - pl.col("value_c") for end in ("low", "high")}
    shown = frames.mean_of_runs(runs, KEYS).select(*KEYS, frames.CELL.alias("effective robustness"))
    change = frames.mean_of_runs(changed.with_columns(**ends), KEYS)
    shown = shown.join(change.select(*KEYS, frames.CELL.alias("change")), on=KEYS, how="left")
    shown = tabling.changes(shown, ["effective robustness", "change"])
    return shown.sort("dataset", "precision", "family", "scheme", "scope").rename({"dataset": "shifted set"})


def _of_set(part: pl.DataFrame) -> pl.DataFrame | None:
    """Return the effective robustness of each run on one set; its interval is that of the shifted accuracy."""
    lines = part.filter(scheme="fp32")
    if lines["clean"].n_unique() < 2:
        return None
    value = shift.effective_robustness(part["clean"], part["value"], lines["clean"], lines["value"])
    moved = pl.Series("value", value) - part["value"]
    return part.with_columns(pl.col("value", "low", "high") + moved)


def _accuracy_changes(rows: Rows) -> pl.DataFrame:
    """Return the changes of accuracy on shifted sets, whose intervals and replicates are those of the changes here."""
    changes = frames.select(rows, "accuracy_change", suite="shift")
    return changes.select(*frames.VARIANT, "dataset", "replicates", value_c="value", low_c="low", high_c="high")
