"""Rows of a study from embeddings of captioned sets: what searches find, before and after; free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from reliquant.files.artifacts import ROW_SCHEMA
from reliquant.measures.retrieval import Captioned
from reliquant.measures.retrieval_rows import retrieval_rows

SEEN = "seen_images"  # the share of the images that the variant has seen before, where there are any
REPEATED = "repeated_captions"  # the share of the captions that another image has, too


def rows_of(
    own: Mapping[str, Captioned],
    fp32: Mapping[str, Captioned],
    counts: Mapping[str, Mapping[str, int]],
    labels: Mapping[str, Any],
    /,
    *,
    indexes: Mapping[str, Mapping[str, Any]],
    resamples: int,
) -> pl.DataFrame:
    """Return the rows of searches in each set by name, in the study's columns; `labels` are those of the variant.

    `fp32` are the embeddings of the same sets by FP32, empty for FP32 itself, which alone tells how many captions
    repeat (`counts`: `Gallery.facts`). Raises ValueError naming the set where the embeddings do not fit together.
    """
    parts = []
    for name, captioned in own.items():
        try:
            found = retrieval_rows(captioned, fp32.get(name), indexes=indexes, resamples=resamples)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        if not fp32:
            share = counts[name]["repeated"] / counts[name]["captions"]
            found = pl.concat([found, _alone(REPEATED, share, counts[name]["captions"])], how="diagonal_relaxed")
        if seen := counts[name].get("seen"):
            images = counts[name]["images"]
            found = pl.concat([found, _alone(SEEN, seen / images, images)], how="diagonal_relaxed")
        parts.append(found.with_columns(dataset=pl.lit(name), reference=pl.lit(name)))
    where = {"suite": "retrieval", "corruption": "", "severity": 0, "scale": "native", "iteration": None}
    columns = {column: pl.lit(value) for column, value in {**where, **labels}.items()}
    frame = pl.concat(parts, how="diagonal_relaxed").with_columns(**columns)
    frame = frame.with_columns(pl.col(pl.String).fill_null(""))
    return frame.select(ROW_SCHEMA.names()).cast(dict(ROW_SCHEMA))


def _alone(measure: str, value: float, n: int) -> pl.DataFrame:
    """Return the row of a number that has no interval, since it is of the data itself."""
    return pl.DataFrame({"measure": [measure], "value": [value], "n": [n], "group": [""], "score": [""]})
