"""From records of images to rows: every measure with its interval, and its difference to FP32 on the same images.

Free of torch.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant.files.artifacts import KEPT, ROW_SCHEMA
from reliquant.measures.conformal_rows import conformal_rows
from reliquant.measures.limits import limit
from reliquant.measures.pairing import CELL, Pair, each_once, matched, without_nan
from reliquant.measures.prompts import prompt_rows
from reliquant.measures.row import as_column
from reliquant.measures.suites import PlacedRow, classification, detection_rows, full_spectrum, spurious

PLACED = ("suite", "dataset", "reference", "group", "corruption", "severity", "score", "measure")
SCHEMA = {name: ROW_SCHEMA[name] for name in (*PLACED, "value", "low", "high", "p", "n", "replicates")}
HEADLINE = {  # measures whose rows, and those of their changes, keep replicates
    *("accuracy", "accuracy_delta", "squared_ce", "brier", "nll", "confidence_gap", "aurc", "misclassification_auroc"),
    *("agreement", "flips_right_to_wrong", "flips_wrong_to_right", "kl_to_fp32", "mean_corruption_error"),
    *("mce_to_fp32", "relative_mce_to_fp32", "auroc", "fpr95_id_positive", "fpr95_ood_positive"),
    *("rsg", "vuln_add", "worst_group_accuracy", "augrc", "full_spectrum_auroc"),
    *("conformal_coverage_90_fp32", "conformal_size_90_fp32"),
}
HEADLINE_OF_EXPLAIN = r"^(sqnr|accuracy_rank_)"  # and those of suite `explain`, which claims average


def rows(
    samples: pl.DataFrame,
    baseline: pl.DataFrame | None,
    /,
    *,
    resamples: int = 10_000,
    seed: int = 0,
    suites: Collection[str] | None = None,
) -> pl.DataFrame:
    """Measure a variant's records; with FP32's records of the same images also every difference.

    `suites` are those to measure (all); the `ood` suite needs the records of its references in `clean` too, and has
    measures of the full spectrum with those in `shift`; `shift` and `noise` have prediction sets with those in `clean`.
    Raises ValueError naming the cell where the records of the two do not match, or where a number is NaN.
    """
    samples = without_nan(samples, "the variant")
    baseline = None if baseline is None else matched(samples, without_nan(baseline, "the baseline"))
    records = each_once(samples).sort([*CELL, "index"]).with_row_index("row")
    measured: list[PlacedRow] = []
    for words, part in records.group_by(["suite", "dataset", "reference"], maintain_order=True):
        suite, dataset, reference = (str(word) for word in words)
        if suites is not None and suite not in suites:
            continue
        pair = _beside(part, baseline)
        rng = np.random.default_rng([seed, zlib.crc32(f"{suite}/{dataset}/{reference}".encode())])
        known = _beside(_of(records, "clean", reference), baseline)
        if suite == "ood":
            if known.variant.is_empty():
                raise ValueError(f"ood suite, {dataset}: there are no records of {reference} in the clean suite")
            placed = detection_rows(known, pair) + full_spectrum(known, _shifted(records, baseline, reference), pair)
        elif suite == "spurious":
            placed = spurious(pair, rng, resamples)
        elif suite == "noise":
            placed = classification(pair, rng, resamples, _beside(_uncorrupted(records, part, dataset), baseline))
        else:
            placed = classification(pair, rng, resamples)
        if suite in ("clean", "shift", "noise"):
            placed += conformal_rows(known, pair)
        if suite == "clean":
            placed += [{"group": "", "corruption": "", "severity": 0, **row} for row in prompt_rows(pair)]
        key = {"suite": suite, "dataset": dataset, "reference": reference, "score": ""}
        measured += [{**key, **row} for row in placed]
    for row in measured:
        limit(row)
    kept = _kept(measured)
    plain = {name: kind for name, kind in SCHEMA.items() if name != kept.name}
    return pl.DataFrame(measured, schema=plain, infer_schema_length=None).with_columns(kept)


def _taken(row: PlacedRow) -> NDArray[np.float32] | None:
    """Take the replicates out of a row; return them if its measure is a headline, or the change of one."""
    kept: NDArray[np.float32] | None = row.pop("replicates")
    return kept if str(row["measure"]).removesuffix("_change") in HEADLINE else None


def _kept(measured: Sequence[PlacedRow]) -> pl.Series:
    """Take the replicates out of rows; return the column of those that keep theirs."""
    table, known = np.full((len(measured), KEPT), np.nan, np.float32), np.zeros(len(measured), bool)
    for place, row in enumerate(measured):
        kept = _taken(row)
        if kept is not None:
            table[place], known[place] = kept, True
    return as_column(table, known)


def _beside(part: pl.DataFrame, baseline: pl.DataFrame | None) -> Pair:
    """Put FP32's records of the same images beside some of the variant's; the column `row` is their place in both."""
    return Pair(part, None if baseline is None else baseline[part["row"].to_numpy()])


def _of(records: pl.DataFrame, suite: str, reference: str) -> pl.DataFrame:
    """Return the records of a suite's images that have the classes of a dataset."""
    return records.filter((pl.col("suite") == suite) & (pl.col("reference") == reference))


def _shifted(records: pl.DataFrame, baseline: pl.DataFrame | None, reference: str) -> list[Pair]:
    """Return the records of each shifted set of a dataset."""
    parts = _of(records, "shift", reference).partition_by("dataset", maintain_order=True)
    return [_beside(part, baseline) for part in parts]


def _uncorrupted(records: pl.DataFrame, part: pl.DataFrame, dataset: str) -> pl.DataFrame:
    """Return the records of the same images without corruption; empty where the clean suite lacks the dataset."""
    clean = (pl.col("suite") == "clean") & (pl.col("dataset") == dataset)
    return records.filter(clean, pl.col("index").is_in(part["index"].unique().implode()))
