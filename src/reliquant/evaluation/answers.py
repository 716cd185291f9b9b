"""What somebody else's model answered, from features or predictions alone; free of torch.

All of them become the records that a study has of images, so that the same measures are made of them. What a table of
predictions cannot say is not made up: the measures that need it are left out by name (`known_from`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant.evaluation.features import Features
from reliquant.evaluation.records import Score, class_columns, samples_of
from reliquant.evaluation.scales import at_sigmoid, at_temperature
from reliquant.measures import calibration
from reliquant.measures.conformal import halves
from reliquant.measures.temperature import best_temperature_influence

Known = Literal["answers", "confidences", "classes"]  # each knows what the one before it knows, and more
LEVELS: tuple[Known, ...] = ("answers", "confidences", "classes")
Floats = NDArray[np.floating]
Labels = NDArray[np.integer]
OF_ANSWERS = r"(accuracy|balanced_accuracy)(_change)?|accuracy_delta|agreement|flips_(right_to_wrong|wrong_to_right)"
OF_CONFIDENCES = (
    r"(ece|ece_equal_mass|squared_ce|debiased_ce|mce|smooth_ece|confidence_gap|aurc|augrc|excess_aurc|misclassification_auroc)"
    r"(_change)?|rms_ce|ece_if_calibrated|ece_relative_change|flipped_confidence_gap"
)
PATTERNS: dict[Known, str] = {
    "answers": rf"^({OF_ANSWERS})$",
    "confidences": rf"^({OF_ANSWERS}|{OF_CONFIDENCES})$",
    "classes": "",
}
LACKING: dict[Known, str] = {
    "answers": "predictions alone give no calibration, no top-5 accuracy, NLL, Brier score, KL, prediction sets or OOD"
    " detection",
    "confidences": "predictions with confidences give no top-5 accuracy, NLL, Brier score, KL, prediction sets or OOD"
    " detection",
    "classes": "",
}


@dataclass(frozen=True)
class OfClasses:
    """Hold what needs the probabilities of all classes of all images at once, of `n` of them.

    `influence` (n,) is that of each image on the temperature that would calibrate best; NaN where that lies at an end.
    """

    classwise_ece: float
    ace: float
    temperature: float
    influence: NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """Hold a model's records of labelled images (`clean`), of each set of other images (`ood`) and of each set of
    shifted images of the same classes, by the name of the set.

    `known` says what records are made of; beyond it they hold fillers, of which nothing is measured. `of_classes` is
    None where nothing is known of all classes. `said` tells what was left out, a sentence each.
    """

    clean: pl.DataFrame
    ood: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    shifted: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    known: Known = "classes"
    of_classes: OfClasses | None = None
    said: tuple[str, ...] = ()


def answers_of_features(
    features: Features,
    ood: Mapping[str, Features],
    scores: Mapping[str, Score],
    /,
    *,
    train: Features | None = None,
) -> Answers:
    """Return the records of labelled features, and with the scores those of other images by the name of their set.

    Records are those of a study's clean and ood suites, with confidences at a cross-fitted temperature. `train` holds
    features of labelled training images for the scores that fit on them. Raises ValueError for a label outside the
    classes, or a score that gives NaN.
    """
    asked, n = scores if ood else {}, len(features.label)
    records = samples_of(features, asked, train=train).with_columns(class_columns(features))
    if features.logit_bias:
        parts = [pl.DataFrame(at_sigmoid(part)) for _, part in features.parts()]
        records = records.with_columns(pl.concat(parts))
    others = {}
    for name, images in ood.items():
        others[name] = samples_of(images, asked, train=train).with_columns(label=pl.lit(-1, pl.Int32))
    keys = features.photographs
    half = halves(np.arange(n, dtype=np.uint64)).astype(np.uint64) if keys is None else keys
    records = records.with_columns(at_temperature(features, half))
    return Answers(records, others, of_classes=of_classes(features.probabilities, features.label))


def answers_of_predictions(
    prediction: Labels, label: Labels, confidence: Floats | None = None, /, *, classes: int | None = None
) -> Answers:
    """Return the records of predicted classes (n,) with labels (n,), and maybe confidences (n,) of the predictions.

    Raises ValueError naming the first image whose label or prediction is no class, or whose confidence is no share.

    >>> told = answers_of_predictions(np.array([0, 1]), np.array([0, 0]))
    >>> told.known, told.clean["prediction"].to_list()
    ('answers', [0, 1])
    """
    if prediction.ndim != 1 or prediction.shape != label.shape or not len(label):
        raise ValueError(f"need a prediction and a label of each image, got {prediction.shape} and {label.shape}")
    for what, values in (("label", label), ("prediction", prediction)):
        wrong = (values < 0) | (values >= (np.iinfo(np.int32).max if classes is None else classes))
        if wrong.any():
            i = int(np.argmax(wrong))
            raise ValueError(f"{what} {int(values[i])} of image {i} is no class: class numbers begin at 0")
    known: Known = "answers"
    if confidence is not None:
        bad = ~((confidence >= 0) & (confidence <= 1 + 1e-6))
        if bad.any() or confidence.shape != label.shape:
            i = int(np.argmax(bad)) if bad.any() else min(len(confidence), len(label))
            value = f" {confidence[i]:g}" if i < len(confidence) else ""
            raise ValueError(f"confidence{value} of image {i} is no share from 0 to 1")
        known = "confidences"
    filler = np.full(len(label), 0.5, np.float32)
    right = prediction == label
    records = {
        "label": label.astype(np.int32),
        "prediction": prediction.astype(np.int32),
        "confidence": filler if confidence is None else np.minimum(confidence, 1).astype(np.float32),
        "rank": np.where(right, 0, 1).astype(np.int32),  # from here on fillers: no measure of them is kept
        "nll": filler,
        "brier": filler,
    }
    return Answers(indexed(pl.DataFrame(records)), known=known, said=(LACKING[known],))


def known_from(rows: pl.DataFrame, known: Known, /) -> pl.DataFrame:
    """Return the rows of measures that records of a kind can tell."""
    return rows.filter(pl.col("measure").str.contains(PATTERNS[known])) if PATTERNS[known] else rows


def of_classes(probabilities: Floats, label: Labels, /) -> OfClasses:
    """Return what is measured of the whole table of probabilities (n, c)."""
    errors = calibration.errors_of_classes(probabilities, label)
    return OfClasses(*errors, *best_temperature_influence(probabilities, label, of="probabilities"))


def indexed(records: pl.DataFrame, /) -> pl.DataFrame:
    """Return records with the number of their image, from 0 on."""
    return records.with_row_index("index").with_columns(pl.col("index").cast(pl.Int32))
