"""Spectra in numbers: SQNR, effective rank, accuracy by band of ranks, share of low spatial frequencies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from reliquant.report import frames, stored_bits, tabling
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "What happened to the features"
QUESTION, PLACE = "why", 1
READ = (
    "SQNR of image features in dB, change of their effective rank, change of accuracy from the first, middle and last "
    "band of ranks of each one's own spectrum (0-8, 8-64, 64 on where embeddings are at least 128 wide; an eighth and "
    "half of the width below), and change of the share of energy in low spatial frequencies, both in points."
)
KEYS = ["family", "scheme", "precision"]
BAND = r"^accuracy_rank_(\d+)_(\d+|end)_change$"
PLAIN = {
    "SQNR (dB)": "sqnr",
    "effective rank": "effective_rank_change",
    "low frequencies": "low_frequency_share_change",
}
UNITS = ("SQNR (dB)", "effective rank")  # columns that are no changes in points
BANDS = {"first band": "accuracy_rank_0_*_change", "middle band": "", "last band": "accuracy_rank_*_end_change"}


def where(column: str, line: Mapping[str, Any], /) -> dict[str, str] | None:
    """Name the rows behind a cell."""
    measure = PLAIN.get(column) or BANDS.get(column)
    of = {"suite": "explain", "group": "", "scheme": line["scheme"], "precision": line["precision"].lower()}
    return {**of, "measure": measure} if measure else None


def table(rows: Rows, /) -> pl.DataFrame:
    """List means over models, scopes, seeds and sets; raise NothingToDraw without rows of `explain`."""
    plain = frames.quantized(frames.select(rows, PLAIN.values(), suite="explain"))
    bands = frames.quantized(frames.matching(rows, BAND))
    if plain.is_empty() and bands.is_empty():
        raise NothingToDraw("no variant was explained (config key explain)")
    edges = pl.col("measure").str.extract_groups(BAND)
    first = pl.when(edges.struct["1"] == "0").then(pl.lit("first band"))
    place = first.when(edges.struct["2"] == "end").then(pl.lit("last band")).otherwise(pl.lit("middle band"))
    named = plain.with_columns(measure=pl.col("measure").replace({m: n for n, m in PLAIN.items()}))
    measured = pl.concat([named, bands.with_columns(measure=place)])
    means = frames.mean_of_runs(frames.mean_of_sets(measured), [*KEYS, "measure"])
    shown = means.select(KEYS).unique()
    for name in ("SQNR (dB)", "effective rank", *BANDS, "low frequencies"):
        part = means.filter(measure=name)
        if part.height:
            cell = frames.CELL
            if name in UNITS:
                cell = cell.map_elements(_plain, pl.String)
            shown = shown.join(part.select(*KEYS, cell.alias(name)), on=KEYS, how="left")
    shown = tabling.changes(shown, [c for c in shown.columns[len(KEYS) :] if c not in UNITS])
    order = {p: i for i, p in enumerate(frames.ordered_precisions(shown))}
    shown = stored_bits.beside(shown, rows, KEYS)
    shown = shown.sort(pl.col("precision").replace_strict(order), stored_bits.FEWEST, "family", "scheme").fill_null("")
    for name in ("SQNR (dB)", *BANDS):
        if name in shown.columns:
            shown = tabling.best(shown, name, highest=True, by=("precision",))
    return shown.with_columns(pl.col("precision").str.to_uppercase())


def _plain(cell: Mapping[str, float | None], /) -> str:
    """Write a value that is no change in points, with its interval."""
    value, low, high = (tabling.number(cell[end], factor=1.0) for end in ("value", "low", "high"))
    return f"{value} [{low}, {high}]" if low and high else value
