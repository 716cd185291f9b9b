"""From records of images to rows: every measure with its interval, and its difference to FP32 on the same images."""

from __future__ import annotations

import zlib
from collections.abc import Collection

import numpy as np
import polars as pl

from reliquant.measures.pairing import CELL, matched, without_nan
from reliquant.measures.suites import Row, classification, detection_rows, spurious

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
    frame = samples.sort([*CELL, "index"]).with_row_index("row")
    found: list[Row] = []
    for (suite, dataset, reference), part in frame.group_by(["suite", "dataset", "reference"], maintain_order=True):
        if suites is not None and suite not in suites:
            continue
        at = part["row"].to_numpy()
        pair = [part] if baseline is None else [part, baseline[at]]
        key = {"suite": suite, "dataset": dataset, "reference": reference, "score": ""}
        rng = np.random.default_rng([seed, zlib.crc32(f"{suite}/{dataset}/{reference}".encode())])
        if suite == "ood":
            clean = (pl.col("suite") == "clean") & (pl.col("dataset") == reference)
            known = frame.filter(clean)
            if known.is_empty():
                raise ValueError(f"ood suite, {dataset}: there are no records of {reference} in the clean suite")
            ids = [known] if baseline is None else [known, baseline[known["row"].to_numpy()]]
            found += [{**key, **row} for row in detection_rows(ids, pair)]
        elif suite == "spurious":
            found += [{**key, **row} for row in spurious(pair, rng, resamples)]
        else:
            same = (pl.col("suite") == "clean") & (pl.col("dataset") == dataset)
            clean = (
                frame.filter(same, pl.col("index").is_in(part["index"].unique().implode()))
                if suite == "noise"
                else frame.clear()
            )
            also = [clean] if baseline is None else [clean, baseline[clean["row"].to_numpy()]]
            found += [{**key, **row} for row in classification(pair, rng, resamples, also)]
    return pl.DataFrame(found, schema=SCHEMA, infer_schema_length=None)
