"""From records of images to rows: every measure with its interval, and its difference to FP32 on the same images."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import log_softmax

from reliquant import calibration
from reliquant.accuracy import labels_within, ranks
from reliquant.divergence import top_of
from reliquant.features import Features
from reliquant.matching import CELL, matched, without_nan
from reliquant.stats import normal_test, variance_of_mean
from reliquant.suites import Row, classification, detection_rows, spurious
from reliquant.temperature import best_temperature_influence

Score = Callable[[Features, Features | None], NDArray[np.float64]]
Measured = dict[str, dict[str, dict[str, Any]]]
CHUNK = 1024
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


def samples_of(features: Features, scores: Mapping[str, Score], /, *, train: Features | None = None) -> pl.DataFrame:
    """Return one record an image: prediction, confidence, rank, nll, brier (null without label), score:<name>.

    Logits are worked on in float64, 1,024 images at a time. Raises ValueError for a label outside the classes, and
    naming the score that gives NaN.
    """
    labels_within(features.label, len(features.text))
    parts = [
        _records(features.logits[i : i + CHUNK].astype(float), features.label[i : i + CHUNK])
        for i in range(0, len(features.label), CHUNK)
    ]
    frame = pl.concat(parts) if parts else _records(np.zeros((0, 1)), features.label)
    for name, score in scores.items():
        values = np.asarray(score(features, train), dtype=float)
        if np.isnan(values).any():
            raise ValueError(f"score {name}: {int(np.isnan(values).sum())} of {len(values)} values are NaN")
        frame = frame.with_columns(pl.Series(f"score:{name}", values))
    return frame.with_row_index("index").with_columns(pl.col("index").cast(pl.Int32))


def _records(logits: NDArray[np.float64], label: NDArray[np.integer]) -> pl.DataFrame:
    probabilities = np.exp(log_softmax(logits, axis=1)) if len(logits) else logits
    known, truth = pl.Series(label >= 0), np.maximum(label, 0)
    frame = pl.DataFrame(
        {
            "label": label.astype(np.int32),
            "prediction": logits.argmax(axis=1).astype(np.int32),
            "confidence": probabilities.max(axis=1).astype(np.float32),
            "rank": ranks(logits, label),
            "nll": calibration.negative_log_likelihoods(logits, truth).astype(np.float32),
            "brier": calibration.brier_scores(probabilities, truth).astype(np.float32),
        }
    )
    return frame.with_columns(pl.when(known).then(pl.col(c)).alias(c) for c in ("nll", "brier"))


def top_classes(features: Features, /) -> list[pl.Series]:
    """Return what `divergence.divergences` compares: the likeliest classes of each image, as columns of records."""
    parts = [
        top_of(log_softmax(features.logits[i : i + CHUNK].astype(float), axis=1))
        for i in range(0, len(features.label), CHUNK)
    ]
    return [pl.concat(columns) for columns in zip(*parts, strict=True)]


def of_features(
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


def of_probabilities(
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
    parts = [slice(i, i + CHUNK) for i in range(0, len(label), CHUNK)]
    records = pl.concat([_records(np.log(np.maximum(probabilities[at], tiny, dtype=float)), label[at]) for at in parts])
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
