"""Search by direction: FP32's recall, rank and precision, and their changes by precision and family, with stars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from reliquant.report import frames, searches, stored_bits, tabling
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Recall by direction, precision and family"
QUESTION, PLACE = "search", 1
READ = (
    "Searches with float32 embeddings: captions for their image, images for their captions, and images for images of "
    "their class. The first line of each direction is FP32, the others changes from it. At 1, 5 and 10: the share of "
    "queries with a right answer among the first so many, in points; of images for images, the share of these that are "
    "right. mAP is mAP@R between images and captions, and over the whole library of images. Ranks are in places. Same: "
    "the overlap (Jaccard) of the first ten with FP32's, which is no change. Mean over models, methods, scopes, seeds "
    "and sets; a text tower is FP32 in the scope image."
)
NAMES = {
    "at 1": ("recall_at_1", "precision_at_1"),
    "at 5": ("recall_at_5", "precision_at_5"),
    "at 10": ("recall_at_10", "precision_at_10"),
    "median rank": ("median_rank", ""),
    "mAP": ("map_at_r", "map"),
    "nDCG@10": ("ndcg_at_10", ""),
}
SAME, JACCARD = "same (%)", "top10_jaccard"
FACTORS = {"median rank": 1.0}
KEYS = ["group", "precision", "family"]


def where(column: str, line: Mapping[str, Any], /) -> dict[str, str] | None:
    """Name the rows behind a cell."""
    if column != SAME and column not in NAMES:
        return None
    direction = next(one for one, words in searches.WORDS.items() if words == line["direction"])
    measure = JACCARD if column == SAME else NAMES[column][direction == searches.ALONE]
    changed = "" if line["family"] == "FP32" or column == SAME else "_change"
    of = {"group": direction, "precision": line["precision"].lower(), "family": line["family"]}
    return {"suite": "retrieval", "measure": f"{measure}{changed}", **of} if measure else None


def table(rows: Rows, /) -> pl.DataFrame:
    """List directions, precisions and families; raise NothingToDraw without a quantized variant that was searched."""
    levels, changed = {}, {}
    for name, pair in NAMES.items():
        for measure in filter(None, pair):
            levels[measure], changed[f"{measure}_change"] = name, name
    exact = _means(frames.select(rows, levels, suite="retrieval", scheme="fp32"), levels)
    moved = _means(frames.quantized(frames.select(rows, [*changed, JACCARD], suite="retrieval")), changed)
    if moved is None:
        raise NothingToDraw("no quantized variant was searched (the suite retrieval)")
    names = [name for name in NAMES if name in moved.columns]
    shown = tabling.changes(moved, names, factors={n: f for n, f in FACTORS.items() if n in names})
    if exact is not None:
        written = [_level(name) for name in NAMES if name in exact.columns]
        shown = pl.concat([exact.with_columns(written), shown], how="diagonal_relaxed")
    if SAME in shown.columns:
        same = pl.col(SAME).struct["value"].map_elements(tabling.number, pl.String).alias(SAME)
        shown = shown.with_columns(same)
    shown = stored_bits.beside(shown, rows, KEYS)
    order = {p: i for i, p in enumerate(frames.ordered_precisions(shown))}
    places = [pl.col("group").replace_strict({g: i for i, g in enumerate(searches.DIRECTIONS)}, return_dtype=pl.Int8)]
    shown = shown.sort(*places, pl.col("precision").replace_strict(order), stored_bits.FEWEST, "family").fill_null("")
    named = pl.col("group").replace_strict(searches.WORDS).alias("direction")
    return shown.select(named, pl.col("precision").str.to_uppercase(), pl.exclude("group", "precision"))


def _means(measured: pl.DataFrame, names: Mapping[str, str]) -> pl.DataFrame | None:
    """Return a line for each direction, precision and family, a column of cells for each name; None without rows."""
    if measured.is_empty():
        return None
    means = frames.mean_of_runs(frames.mean_of_sets(measured, "group"), [*KEYS, "measure"])
    shown = means.select(KEYS).unique(maintain_order=True)
    for name in [*dict.fromkeys(names.values()), SAME]:
        own = [measure for measure in means["measure"].unique() if names.get(measure, SAME) == name]
        part = means.filter(pl.col("measure").is_in(own)).select(*KEYS, frames.CELL.alias(name))
        if part.height:
            shown = shown.join(part, on=KEYS, how="left", maintain_order="left")
    return shown


def _level(name: str) -> pl.Expr:
    """Write FP32's values of a column, in points unless they are ranks."""

    def written(value: float | None) -> str:
        return tabling.number(value, factor=FACTORS.get(name, tabling.POINTS))

    return pl.col(name).struct["value"].map_elements(written, pl.String).alias(name)
