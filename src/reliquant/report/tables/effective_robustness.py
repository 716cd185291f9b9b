"""Accuracy under shift above what the clean accuracy predicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant.measures import shift
from reliquant.report import frames, stored_bits, tabling
from reliquant.report.averages import at_hand, replicated, spread, table_of
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Effective robustness"
QUESTION, PLACE = "robustness", 5
READ = (
    "Accuracy on a shifted set minus what a line through the FP32 models, on logit axes, predicts from the accuracy on "
    "the clean set; in points, mean over models and seeds, and its change to FP32. Above zero: more robust than the "
    "clean accuracy says. Intervals hold the noise of shifted and of clean images. Few FP32 models make an uncertain "
    "line; the intervals leave its uncertainty out."
)
KEYS = ["dataset", "family", "scheme", "precision", "scope"]
ENDS = ("value", "low", "high")
Floats = NDArray[np.float64]


def table(rows: Rows, /) -> pl.DataFrame:
    """List effective robustness by shifted set and scheme; raise NothingToDraw without two FP32 models and a shift."""
    shifted = frames.select(rows, "accuracy", suite="shift")
    if shifted.is_empty():
        raise NothingToDraw("the study asks no shifted sets")
    clean = frames.select(rows, "accuracy")
    changes = frames.select(rows, "accuracy_change", suite="shift"), frames.select(rows, "accuracy_change")
    lines = []
    for _, part in shifted.group_by("dataset", maintain_order=True):  # the replicates of one set are enough at a time
        both = _beside(at_hand(part), clean, [*frames.VARIANT, "reference"], "clean", how="inner")
        runs = _of_set(both)
        if runs is None:
            continue
        columns = [column for column in runs.columns if column in (*shifted.columns, "replicates")]
        mean = frames.mean_of_runs(runs.select(columns), KEYS)
        change = frames.mean_of_runs(_changes(runs, *changes, columns), KEYS)
        mean = mean.select(*KEYS, frames.CELL.alias("effective robustness"))
        lines.append(mean.join(change.select(*KEYS, frames.CELL.alias("change")), on=KEYS, how="left"))
    if not lines:
        raise NothingToDraw("a line needs FP32 models of at least two clean accuracies")
    shown = pl.concat(lines)
    shown = tabling.changes(shown, ["effective robustness", "change"])
    shown = stored_bits.beside(shown, rows, KEYS)
    places = ["dataset", "precision", stored_bits.FEWEST, "family", "scheme", "scope"]
    return shown.sort(places).rename({"dataset": "shifted set"})


def _beside(
    frame: pl.DataFrame, other: pl.DataFrame, on: Sequence[str], name: str, how: Literal["inner", "left"] = "left"
) -> pl.DataFrame:
    """Put the values, ends and replicates of other rows beside those of a frame: `<name>_value` and so on."""
    new = {f"{name}_{column}": column for column in (*ENDS, "replicates")}
    known = at_hand(other.join(frame.select(on).unique(), on=list(on), how="semi"))
    return frame.join(known.select(*on, **new), on=list(on), how=how, maintain_order="left")


def _of_set(part: pl.DataFrame) -> pl.DataFrame | None:
    """Return the effective robustness of each run on one set, with `slope`: of the line, at its clean accuracy."""
    lines = part.filter(scheme="fp32")
    if lines["clean_value"].n_unique() < 2:
        return None
    baselines = lines["clean_value"], lines["value"]
    value = shift.effective_robustness(part["clean_value"], part["value"], *baselines)
    slope = shift.slope_of_prediction(part["clean_value"], *baselines)
    found = _sum(value, [(np.ones(part.height), part), (-slope, _named(part, "clean"))])
    return part.with_columns(found).with_columns(slope=pl.Series(slope))


def _changes(runs: pl.DataFrame, moved: pl.DataFrame, cleaner: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Return the change of each quantized run from its FP32 model; `moved` and `cleaner` are changes of accuracy.

    What the line predicts changes with the clean accuracy, by the slope there; where the slope is another one than at
    FP32, the noise of FP32's clean accuracy is in the change, too.
    """
    fp32 = runs.filter(scheme="fp32").select("dataset", "model", fp32_er="value", fp32_slope="slope")
    changed = frames.quantized(runs).join(fp32, on=["dataset", "model"], how="inner", maintain_order="left")
    base = runs.filter(scheme="fp32").select("dataset", "model", "^clean_.*$")
    base = base.rename({c: c.replace("clean", "base") for c in base.columns if c.startswith("clean")})
    changed = changed.join(base, on=["dataset", "model"], how="left", maintain_order="left")
    changed = _beside(changed, moved, [*frames.VARIANT, "dataset"], "moved")
    changed = _beside(changed, cleaner, [*frames.VARIANT, "reference"], "cleaner")
    slope = changed["slope"].to_numpy()
    terms = [
        (np.ones(changed.height), _named(changed, "moved")),
        (-slope, _named(changed, "cleaner")),
        (changed["fp32_slope"].to_numpy() - slope, _named(changed, "base")),
    ]
    value = (changed["value"] - changed["fp32_er"]).to_numpy()
    return changed.with_columns(_sum(value, terms)).select(columns)


def _named(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return the columns `<name>_value`, `_low`, `_high` and `_replicates` without their prefix."""
    return frame.select(**{column: f"{name}_{column}" for column in (*ENDS, "replicates")})


def _sum(value: Floats, terms: Sequence[tuple[Floats, pl.DataFrame]]) -> list[pl.Series]:
    """Return `value` with ends and replicates by the errors of weighted rows: what the terms share moves together.

    Each side is made of the terms' own sides that lead there, as `averages.averaged` does it; where a term keeps no
    replicates, half-widths are added, which holds under any dependence. A term of weight 0 adds nothing.
    """
    made = [pl.Series("value", value)]
    errors = [table_of(row) - row["value"].to_numpy()[:, None] for _, row in terms]
    wide = [spread(table) for table in errors]
    for end, sign in (("low", -1), ("high", 1)):
        sided, added = np.zeros((len(value), errors[0].shape[1])), np.zeros(len(value))
        for (weight, row), error, width in zip(terms, errors, wide, strict=True):
            low, high = (row[name].cast(pl.Float64).to_numpy() for name in ("low", "high"))
            own = row["value"].to_numpy()
            half = np.where(sign * weight > 0, high - own, own - low)
            side = np.where(weight == 0, 0.0, np.abs(weight) * half)
            added += side
            unit = np.sign(weight)[:, None] * error / np.where(width > 0, width, np.nan)[:, None]
            sided += np.where(side[:, None] == 0, 0.0, side[:, None] * unit)
        together = spread(sided)
        made.append(pl.Series(end, value + sign * np.where(np.isfinite(together), together, added), nan_to_null=True))
    whole = sum(
        np.where(weight[:, None] == 0, 0.0, weight[:, None] * e) for (weight, _), e in zip(terms, errors, strict=True)
    )
    return [*made, replicated(value[:, None] + whole).alias("replicates")]
