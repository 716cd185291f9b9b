"""What a model card shows of a variant's rows: each measure with FP32's value and the change; free of torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from reliquant.measures.stats import holm
from reliquant.report import frames
from reliquant.report.common_sets import CELL
from reliquant.report.costs import DEPLOY
from reliquant.report.frames import VARIANT, Rows
from reliquant.report.tabling import Change
from reliquant.study.config import RETRIEVAL, SUITES

FP32 = "fp32"
SHOWN: Mapping[str, Sequence[str]] = {  # by suite: what answers its question, at the model's own logit scale
    "clean": ("accuracy", "top5_accuracy", "agreement", "squared_ce", "ece", "brier", "nll"),
    "ood": ("auroc", "fpr95_ood_positive"),
    "shift": ("accuracy", "squared_ce"),
    "noise": ("accuracy", "squared_ce"),
    "spurious": ("worst_group_accuracy", "rsg"),
    RETRIEVAL: ("recall_at_1", "recall_at_5", "recall_at_10"),
}
ASKED = {  # the question of each suite
    "clean": "zero-shot accuracy and calibration",
    "ood": "detection of images of no class (OOD)",
    "shift": "images of the same classes in other styles (covariate shift)",
    "noise": "corrupted images",
    "spurious": "spurious correlations",
    RETRIEVAL: "search by captions and images",
}
UNGROUPED = ("clean", "shift", "noise", "spurious")  # suites whose groups are parts of a set
OF_BOTH = ("agreement",)  # measures of variant and FP32 together: their interval is their own
OF_VARIANT = ("stored_bits", "bytes", "bytes_fp32", "quantized_block_share", "quantized_mac_share")
UNCHANGED = Change()  # of which nothing is known


@dataclass(frozen=True)
class Shown:
    """One measure of a variant on one set: value, FP32's, and the change with its 95 % interval and stars.

    `low` and `high` are the interval of the value; `set_` names the set, with the direction or the OOD score.
    """

    suite: str
    dataset: str
    set_: str
    measure: str
    value: float
    low: float | None
    high: float | None
    n: int | None
    fp32: float | None = None
    change: Change = UNCHANGED
    stars: str = ""


def of_variant(rows: Rows, variant: Mapping[str, Any], /) -> dict[str, float]:
    """Return what is known of a variant itself: bits and bytes, and how much of it is quantized."""
    own = rows.lazy().filter(*_same(variant), pl.col("measure").is_in(OF_VARIANT), pl.col("suite") == "")
    found = own.filter(pl.col("value").is_finite()).select(pl.col("measure").cast(pl.String), "value").collect()
    return dict(found.rows())


def of_files(rows: Rows, variant: Mapping[str, Any], /) -> list[dict[str, Any]]:
    """Return the times, sizes and memory of a variant's exported towers, as `reliquant time` has rows of them."""
    own = rows.lazy().filter(*_same(variant), pl.col("suite") == DEPLOY, pl.col("value").is_finite())
    found = own.select(pl.col("group", "measure").cast(pl.String), "value", "low", "high", "n").collect()
    return found.sort("group", "measure").to_dicts()


def shown(rows: Rows, variant: Mapping[str, Any], /) -> list[Shown]:
    """Return the measures of a variant that a card shows, in the order of suites, sets and measures, without stars."""
    found: list[Shown] = []
    for suite, measures in SHOWN.items():
        every = frames.select(rows, [*measures, *(f"{name}_change" for name in measures)], suite=suite)
        every = every.filter(pl.col("group") == "") if suite in UNGROUPED else every
        own = every.filter(*_same(variant))
        of_fp32 = every.filter(pl.col("scheme") == FP32, *(pl.col(w) == variant[w] for w in ("model", "source")))
        found += _lines(own, of_fp32 if variant["scheme"] != FP32 else of_fp32.clear(), suite, measures)
    return found


def starred(cards: Sequence[Sequence[Shown]], /) -> tuple[list[list[Shown]], int]:
    """Mark changes, corrected for all that the card shows (Holm 1979); return that number, too."""
    p = iter(holm([one.change.p for lines in cards for one in lines]))
    marked = [[replace(one, stars=frames.marked(float(next(p)))) for one in lines] for lines in cards]
    return marked, sum(one.change.p == one.change.p for lines in cards for one in lines)


def absent(rows: Rows, variant: Mapping[str, Any], /) -> tuple[list[str], dict[str, list[str]]]:
    """Return the suites of which a variant has no row, and of the others the sets that others of the rows have."""
    places = rows.lazy().filter(pl.col("iteration").is_null(), pl.col("suite").is_in([*SHOWN]))
    known = places.select(*VARIANT, "iteration", "suite", "dataset").unique().collect()
    known = known.with_columns(pl.col(pl.Categorical).cast(pl.String))
    own = known.filter(*_same(variant))
    missing = [suite for suite in (*SUITES, RETRIEVAL) if suite not in set(own["suite"])]
    lost = known.join(own, on=["suite", "dataset"], how="anti").filter(~pl.col("suite").is_in(missing))
    by_suite = {str(suite[0]): sorted(set(part["dataset"])) for suite, part in lost.group_by("suite")}
    return missing, {suite: by_suite[suite] for suite in SHOWN if suite in by_suite}


def undefined(rows: Rows, variant: Mapping[str, Any], /) -> list[str]:
    """Name the measures of a card that have rows of a variant without a value, with their sets."""
    native = pl.col("scale") == "native"
    named = [measure for measures in SHOWN.values() for measure in measures]
    lost = rows.lazy().filter(*_same(variant), native, frames.UNDEFINED, pl.col("measure").is_in(named))
    found = lost.select(pl.col("suite", "dataset", "measure").cast(pl.String)).unique().sort(pl.all()).collect()
    return [f"{measure} on {dataset} ({suite})" for suite, dataset, measure in found.rows()]


def _lines(own: pl.DataFrame, fp32: pl.DataFrame, suite: str, measures: Iterable[str]) -> list[Shown]:
    """Put values, FP32's values and changes of the same cell beside one another."""
    cells: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for row in own.sort(CELL).iter_rows(named=True):
        cells.setdefault(tuple(row[name] for name in CELL), {})[row["measure"]] = row
    known = {(*(r[name] for name in CELL), r["measure"]): r["value"] for r in fp32.iter_rows(named=True)}
    found = []
    for cell, there in cells.items():
        place = dict(zip(CELL, cell, strict=True))
        for name in measures:
            if name not in there:
                continue
            row, change = there[name], there.get(f"{name}_change", {})
            moved = Change(change.get("value"), change.get("low"), change.get("high"))
            line = Shown(
                suite, place["dataset"], _named(place, suite), name, row["value"], row["low"], row["high"], row["n"]
            )
            found.append(replace(line, fp32=known.get((*cell, name)), change=moved))
    return found


def _named(place: Mapping[str, Any], suite: str) -> str:
    """Name a set with what else tells its cell: the direction and stored form, or the score of OOD-ness."""
    mean = "mean over corruptions" if suite == "noise" else ""
    words = [place["dataset"], mean, place["group"].replace("_", " "), place["score"]]
    beside = place["reference"] if suite in ("ood", "shift") and place["reference"] != place["dataset"] else ""
    return ", ".join(filter(None, [*words, f"for {beside}" if beside else ""]))


def _same(variant: Mapping[str, Any]) -> list[pl.Expr]:
    """Return the conditions that a finished row is of a variant."""
    return [pl.col("iteration").is_null(), *(pl.col(word).eq_missing(pl.lit(variant[word])) for word in VARIANT)]
