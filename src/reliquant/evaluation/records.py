"""Records of images: what a variant predicts of each, how confidently, and its OOD scores; free of torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import log_softmax

from reliquant.evaluation.features import Features
from reliquant.measures import calibration
from reliquant.measures.accuracy import labels_within, ranks
from reliquant.measures.conformal import set_sizes
from reliquant.measures.divergence import top_of
from reliquant.measures.resampling import PHOTOGRAPH

CHUNK = 1024  # images whose logits are worked on at a time
TUNED = ("confidence", "nll", "brier")  # what records of an image hold for each logit scale, see `scales.py`
SCALED = (  # measures that depend on the logit scale
    r"^(squared_ce|rms_ce|ece|mce(_change)?$|debiased_ce|smooth_ece|nll|brier|confidence|flipped_confidence|aurc"
    r"|augrc|excess_aurc|misclassification)"
)

Score = Callable[[Features, Features | None], NDArray[np.float64]]


def samples_of(features: Features, scores: Mapping[str, Score], /, *, train: Features | None = None) -> pl.DataFrame:
    """Return one record per image: index, what `records_of` says of its logits, and `score:<name>` for each score.

    Where the features know which photographs they are of, `photograph` holds their keys.
    `train` holds the features that scores fit on. Logits are worked on in float64, 1,024 images at a time. Where images
    are read when they are asked for, a score gets the features of 16,384 of them at a time: what it says of an image
    may depend on `train`, never on other images.
    Raises ValueError for a label outside the classes, and naming a score that gives NaN.
    """
    labels_within(features.label, len(features.text))
    parts = [
        records_of(features.logits[i : i + CHUNK].astype(float), features.label[i : i + CHUNK])
        for i in range(0, len(features.label), CHUNK)
    ]
    frame = pl.concat(parts) if parts else records_of(np.zeros((0, 1)), features.label)
    for name, values in _scored(features, scores, train).items():
        if np.isnan(values).any():
            raise ValueError(f"score {name}: {int(np.isnan(values).sum())} of {len(values)} values are NaN")
        frame = frame.with_columns(pl.Series(f"score:{name}", values))
    if features.photographs is not None:
        frame = frame.with_columns(pl.Series(PHOTOGRAPH, features.photographs, pl.UInt64))
    return frame.with_row_index("index").with_columns(pl.col("index").cast(pl.Int32))


def _scored(features: Features, scores: Mapping[str, Score], train: Features | None) -> dict[str, NDArray[np.float64]]:
    """Return every score of each image, (n,); images that are not in memory are read once for all scores."""
    if features.in_memory:
        return {name: np.asarray(score(features, train), dtype=float) for name, score in scores.items()}
    found = {name: np.empty(len(features.label)) for name in scores}
    train = None if train is None else train.held()
    for at, part in features.parts() if scores else ():
        for name, score in scores.items():
            found[name][at] = score(part, train)
    return found


def records_of(logits: NDArray[np.float64], label: NDArray[np.integer], /) -> pl.DataFrame:
    """Return label, prediction, confidence, rank, nll and brier of each row of logits (n, c) or log-probabilities.

    `rank` says how many classes come before the true one. Where the label (n,) is -1, nll and brier are null and rank
    is -1.

    >>> records_of(np.log([[0.5, 0.3, 0.2]]), np.array([1])).select("prediction", "confidence", "rank").row(0)
    (0, 0.5, 1)
    """
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


def class_columns(features: Features, /, *, sizes: bool = True, top: bool = True) -> list[pl.Series]:
    """Return columns of records made of all classes of an image: `conformal.set_sizes`, and the likeliest ones.

    The latter are what `divergence.divergences` compares.
    """
    parts = []
    for i in range(0, len(features.label), CHUNK):
        log_p = log_softmax(features.logits[i : i + CHUNK].astype(float), axis=1)
        parts.append([*([set_sizes(log_p)] if sizes else []), *(top_of(log_p) if top else [])])
    return [pl.concat(columns) for columns in zip(*parts, strict=True)]
