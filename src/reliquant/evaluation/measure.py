"""Measure features or a table of probabilities that you have at hand, without a study; free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant.evaluation.answers import of_classes
from reliquant.evaluation.class_tables import require_probabilities
from reliquant.evaluation.features import Features
from reliquant.evaluation.records import CHUNK, Score, records_of, samples_of
from reliquant.measures.rows import rows
from reliquant.measures.stats import normal_test, variance_of_mean


class Value(TypedDict):
    """Hold a measured value with its 95 % interval (None where a measure has none), from how many images."""

    value: float
    low: float | None
    high: float | None
    n: int


Values = dict[str, Value]  # by measure; those of an OOD score are called <score>_<measure>
Measured = dict[str, Values]  # by dataset


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
    """Measure labelled features, and how well every score tells them apart from each OOD set.

    Returns {`name`: {measure: {value, low, high, n}}, each OOD set: {<score>_<measure>: {value, low, high, n}}}: values
    with 95 % intervals (None where a measure has no interval) and the number of images; measures without a value are
    left out. `ood` holds features of other images by the name of their set (their labels are not used), `scores` the
    score functions by name (`plugins.load("score", {"score": "mcm"})`); without OOD sets no score is computed. `train`
    holds features of labelled training images for the scores that fit on them. `resamples` and `seed` are the
    bootstrap's.
    Raises ValueError when an OOD set is called `name`, a label is outside the classes, or a score gives NaN.

    >>> right, wrong = [1, 0], [0, 1]
    >>> image, text = np.array([right, right, wrong, right], np.float32), np.eye(2, dtype=np.float32)
    >>> known = Features(image, text, np.zeros(4, int), logit_scale=2.0)
    >>> measured = measure_features(known, {}, {}, resamples=100)
    >>> measured["features"]["accuracy"]["value"], measured["features"]["accuracy"]["n"]
    (0.75, 4)
    >>> between = Features(np.full((3, 2), 0.5**0.5, np.float32), text, np.full(3, -1), logit_scale=2.0)
    >>> score = {"nearest": lambda features, train: features.cosine.max(axis=1)}
    >>> measured = measure_features(known, {"between": between}, score, resamples=100)
    >>> measured["between"]["nearest_auroc"]["value"]
    1.0
    """
    if name in ood:
        raise ValueError(f"an OOD set has the name of the in-distribution set, {name!r}")
    asked = scores if ood else {}
    test = samples_of(features, asked, train=train)
    parts = [placed(test, "clean", name, name)]
    for other, images in ood.items():
        records = samples_of(images, asked, train=train).with_columns(label=pl.lit(-1, pl.Int32))
        parts.append(placed(records, "ood", other, name))
    measured = by_dataset(rows(pl.concat(parts, how="diagonal"), None, resamples=resamples, seed=seed))
    measured[name] |= _of_all_classes(features.probabilities, features.label)
    return measured


def measure_probabilities(
    probabilities: NDArray[np.floating],
    label: NDArray[np.integer],
    /,
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Values:
    """Measure a table of softmax probabilities (n, c) with labels (n,): {measure: {value, low, high, n}}.

    Values have 95 % intervals (None where a measure has no interval) by a bootstrap of `resamples` from `seed`, or by
    the influence of each image. A probability of 0 counts as the smallest positive number of its type in the NLL.
    Raises ValueError for a table that holds no probabilities (rows that are negative, above 1 or do not sum to 1
    within 0.01), naming the first such image, and for a label outside 0 .. c - 1.

    >>> table = np.array([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.3, 0.7]])
    >>> measured = measure_probabilities(table, np.array([0, 0, 1, 1]), resamples=100)
    >>> measured["accuracy"]["value"], measured["accuracy"]["n"]
    (0.75, 4)
    >>> round(measured["nll"]["value"], 4)  # mean of -log of 0.9, 0.6, 0.2 and 0.7
    0.6456
    """
    require_probabilities(probabilities, label)
    tiny = np.finfo(probabilities.dtype).tiny
    parts = []
    for start in range(0, len(label), CHUNK):
        at = slice(start, start + CHUNK)
        parts.append(records_of(np.log(np.maximum(probabilities[at], tiny, dtype=float)), label[at]))
    records = pl.concat(parts)
    frame = placed(records.with_row_index("index"), "clean", "table", "table")
    measured = by_dataset(rows(frame, None, resamples=resamples, seed=seed))["table"]
    return measured | _of_all_classes(probabilities, label)


def placed(records: pl.DataFrame, suite: str, dataset: str, reference: str, /) -> pl.DataFrame:
    """Add the columns that say which cell records are of, as the records of a study have them."""
    where = {"suite": suite, "dataset": dataset, "reference": reference, "group": "", "corruption": ""}
    constants = {name: pl.lit(word) for name, word in where.items()}
    return records.with_columns(severity=pl.lit(0, pl.Int8), **constants)


def by_dataset(measured: pl.DataFrame, /) -> Measured:
    """Return rows that have a value by dataset and measure; those of an OOD score are called <score>_<measure>."""
    nested: Measured = {}
    for row in measured.filter(pl.col("value").is_not_null()).iter_rows(named=True):
        name = f"{row['score']}_{row['measure']}" if row["score"] else row["measure"]
        value: Value = {"value": row["value"], "low": row["low"], "high": row["high"], "n": row["n"]}
        nested.setdefault(row["dataset"], {})[name] = value
    return nested


def _of_all_classes(probabilities: NDArray[np.floating], label: NDArray[np.integer]) -> Values:
    """Return what needs the whole probability table.

    The calibration errors of all classes are as published, without interval: in 1,000 classes nearly every bin is
    empty or holds a few images, so that the noise of the bins outweighs any error. The temperature has one, by the
    influence of each image.
    """
    found = of_classes(probabilities, label)
    measured: Values = {}
    for name, error in (("classwise_ece", found.classwise_ece), ("ace", found.ace)):
        measured[name] = {"value": error, "low": None, "high": None, "n": len(label)}
    value, influence = found.temperature, found.influence
    if np.isfinite(value):
        low, high, _ = normal_test(value, variance_of_mean(influence))
        known = np.isfinite(low)
        ends = {"low": max(0.0, low) if known else None, "high": high if known else None}
        measured["best_temperature"] = {"value": value, **ends, "n": len(label)}
    return measured
