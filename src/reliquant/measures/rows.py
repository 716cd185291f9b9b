"""From records of images to rows: every measure with its interval, and its difference to FP32 on the same images.

Free of torch.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection

import numpy as np
import polars as pl

from reliquant.measures.pairing import CELL, Pair, matched, without_nan
from reliquant.measures.suites import PlacedRow, classification, detection_rows, spurious

SCHEMA = {
    **dict.fromkeys(["suite", "dataset", "reference", "group", "corruption"], pl.String),
    "severity": pl.Int64,
    **dict.fromkeys(["score", "measure"], pl.String),
    **dict.fromkeys(["value", "low", "high", "p"], pl.Float64),
    "n": pl.Int64,
}


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

    `suites` are those to measure (all); the `ood` suite needs the records of its references in `clean` too.
    Raises ValueError naming the cell where the records of the two do not match, or where a number is NaN.
    """
    samples = without_nan(samples, "the variant")
    baseline = None if baseline is None else matched(samples, without_nan(baseline, "the baseline"))
    records = samples.sort([*CELL, "index"]).with_row_index("row")
    measured: list[PlacedRow] = []
    for words, part in records.group_by(["suite", "dataset", "reference"], maintain_order=True):
        suite, dataset, reference = (str(word) for word in words)
        if suites is not None and suite not in suites:
            continue
        pair = _beside(part, baseline)
        rng = np.random.default_rng([seed, zlib.crc32(f"{suite}/{dataset}/{reference}".encode())])
        if suite == "ood":
            placed = detection_rows(_beside(_known(records, dataset, reference), baseline), pair)
        elif suite == "spurious":
            placed = spurious(pair, rng, resamples)
        elif suite == "noise":
            placed = classification(pair, rng, resamples, _beside(_uncorrupted(records, part, dataset), baseline))
        else:
            placed = classification(pair, rng, resamples)
        key = {"suite": suite, "dataset": dataset, "reference": reference, "score": ""}
        measured += [{**key, **row} for row in placed]
    return pl.DataFrame(measured, schema=SCHEMA, infer_schema_length=None)


def _beside(part: pl.DataFrame, baseline: pl.DataFrame | None) -> Pair:
    """Put FP32's records of the same images beside some of the variant's; the column `row` is their place in both."""
    return Pair(part, None if baseline is None else baseline[part["row"].to_numpy()])


def _known(records: pl.DataFrame, dataset: str, reference: str) -> pl.DataFrame:
    """Return the in-distribution records that an OOD set is told from; raise ValueError where there are none."""
    known = records.filter((pl.col("suite") == "clean") & (pl.col("dataset") == reference))
    if known.is_empty():
        raise ValueError(f"ood suite, {dataset}: there are no records of {reference} in the clean suite")
    return known


def _uncorrupted(records: pl.DataFrame, part: pl.DataFrame, dataset: str) -> pl.DataFrame:
    """Return the records of the same images without corruption; empty where the clean suite lacks the dataset."""
    clean = (pl.col("suite") == "clean") & (pl.col("dataset") == dataset)
    return records.filter(clean, pl.col("index").is_in(part["index"].unique().implode()))
