"""Measure what somebody has at hand, features or a table of probabilities, without a study; torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant.evaluation.features import Features
from reliquant.evaluation.records import CHUNK, Score, records_of, samples_of
from reliquant.measures import calibration
from reliquant.measures.accuracy import labels_within
from reliquant.measures.rows import rows
from reliquant.measures.stats import normal_test, variance_of_mean
from reliquant.measures.temperature import best_temperature_influence

Measured = dict[str, dict[str, dict[str, Any]]]


def measure_features(
    features: Features,
    ood: Mapping[str, Features],
    scores: Mapping[str, Score],
    /,
    *,
    resamples: int = 10_000,
    seed: int = 0,
    name: str = "features",
    train: Features | None = None,
) -> Measured:
    """Measure labelled features, and every score on them against each OOD set.

    Returns {name: {measure: {value, low, high, n}}, each OOD set: {<score>_<measure>: ...}}; low and high are None
    where a measure has no interval.
    """
    if name in ood:
        raise ValueError(f"an OOD set has the name of the in-distribution set, {name!r}")
    asked = scores if ood else {}
    test = samples_of(features, asked, train=train)
    parts = [_placed(test, "clean", name, name)]
    for other, images in ood.items():
        records = samples_of(images, asked, train=train).with_columns(label=pl.lit(-1, pl.Int32))
        parts.append(_placed(records, "ood", other, name))
    found = _nested(rows(pl.concat(parts, how="diagonal"), None, resamples=resamples, seed=seed))
    found[name] |= _of_all_classes(features.probabilities, features.label)
    return found


def measure_probabilities(
    probabilities: NDArray[np.floating],
    label: NDArray[np.integer],
    /,
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Measure a table of softmax probabilities (n, c) with labels (n,): {measure: {value, low, high, n}}.

    A probability of 0 counts as the smallest positive number of its type in the NLL. Raises ValueError for a table that
    holds no probabilities.
    """
    if probabilities.ndim != 2 or len(probabilities) != len(label) or not len(label):
        raise ValueError(f"need probabilities (n, c) and n > 0 labels, got {probabilities.shape} and {label.shape}")
    within = (probabilities.min(axis=1) >= 0) & (probabilities.max(axis=1) <= 1 + 1e-6)
    bad = ~(np.abs(probabilities.sum(axis=1) - 1) < 1e-2) | ~within
    if bad.any():
        i = int(np.argmax(bad))
        raise ValueError(f"probabilities of {int(bad.sum())} images are not shares that sum to 1, first image {i}")
    labels_within(label, probabilities.shape[1])
    tiny = np.finfo(probabilities.dtype).tiny
    parts = []
    for start in range(0, len(label), CHUNK):
        at = slice(start, start + CHUNK)
        parts.append(records_of(np.log(np.maximum(probabilities[at], tiny, dtype=float)), label[at]))
    records = pl.concat(parts)
    frame = _placed(records.with_row_index("index"), "clean", "table", "table")
    found = _nested(rows(frame, None, resamples=resamples, seed=seed))["table"]
    return found | _of_all_classes(probabilities, label)


def _placed(records: pl.DataFrame, suite: str, dataset: str, reference: str) -> pl.DataFrame:
    where = {"suite": suite, "dataset": dataset, "reference": reference, "group": "", "corruption": ""}
    return records.with_columns(severity=pl.lit(0, pl.Int8), **{k: pl.lit(v) for k, v in where.items()})


def _nested(found: pl.DataFrame) -> Measured:
    nested: Measured = {}
    for row in found.filter(pl.col("value").is_not_null()).iter_rows(named=True):
        name = f"{row['score']}_{row['measure']}" if row["score"] else row["measure"]
        nested.setdefault(row["dataset"], {})[name] = {k: row[k] for k in ("value", "low", "high", "n")}
    return nested


def _of_all_classes(probabilities: NDArray[np.floating], label: NDArray[np.integer]) -> dict[str, dict[str, Any]]:
    """Return what needs the whole probability table, with intervals by the influence of each image.

    A bootstrap would sum n times c numbers a resample: 5e11 for 50,000 images, 1,000 classes and 10,000 resamples.
    """
    found = {}
    for name, (value, influence) in {
        "classwise_ece": calibration.classwise_ece_influence(probabilities, label),
        "ace": calibration.ace_influence(probabilities, label),
        "best_temperature": best_temperature_influence(probabilities, label, of="probabilities"),
    }.items():
        low, high, _ = normal_test(value, variance_of_mean(influence))
        facts = {"low": max(0.0, low), "high": high} if np.isfinite(low) else {"low": None, "high": None}
        found[name] = {"value": value, **facts, "n": len(label)}
    return {name: facts for name, facts in found.items() if np.isfinite(facts["value"])}
