"""What answers hold: a study's records of features, and of predictions no more than they tell."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from reliquant.evaluation import by_class
from reliquant.evaluation.answers import answers_of_features, answers_of_predictions, known_from
from reliquant.evaluation.by_class import SomeRows
from reliquant.evaluation.features import Features
from reliquant.evaluation.paired import measure_answers


def features(n=90, c=5, d=12, seed=0):
    rng = np.random.default_rng(seed)
    text, label = rng.normal(size=(c, d)), rng.integers(0, c, n)
    image = text[label] + 1.2 * rng.normal(size=(n, d))
    unit = [(x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in (image, text)]
    return Features(*unit, label, 12.0)


def test_predictions_give_the_accuracy_of_the_features_that_they_come_from_with_the_same_interval():
    f = features()
    whole = measure_answers(answers_of_features(f, {}, {}), resamples=500)["images"]
    alone = measure_answers(answers_of_predictions(f.logits.argmax(axis=1), f.label), resamples=500)["images"]
    assert set(alone) == {"accuracy", "balanced_accuracy"}
    for name in alone:
        assert alone[name] == pytest.approx(whole[name], abs=1e-6), name


def test_predictions_with_confidences_give_calibration_and_no_measure_of_what_is_a_filler():
    f = features()
    whole = measure_answers(answers_of_features(f, {}, {}), resamples=500)["images"]
    told = answers_of_predictions(f.logits.argmax(axis=1), f.label, f.probabilities.max(axis=1))
    alone = measure_answers(told, resamples=500)["images"]
    assert {"ece", "squared_ce", "aurc", "confidence_gap", "smooth_ece", "misclassification_auroc"} <= set(alone)
    left_out = {"nll", "brier", "top5_accuracy", "best_temperature", "conformal_size_90_own"}
    assert not left_out & set(alone)
    assert left_out <= set(whole)
    for name in alone:
        assert alone[name]["value"] == pytest.approx(whole[name]["value"], abs=1e-6), name


def test_a_measure_that_nobody_listed_is_none_of_predictions():
    rows = pl.DataFrame({"measure": ["accuracy", "accuracy_of_tomorrow", "nll", "ece"]})
    assert known_from(rows, "answers")["measure"].to_list() == ["accuracy"]
    assert known_from(rows, "confidences")["measure"].to_list() == ["accuracy", "ece"]
    assert known_from(rows, "classes").height == 4


@pytest.mark.parametrize(
    ("prediction", "label", "confidence", "message"),
    [
        ([0, -1], [0, 1], None, "prediction -1 of image 1 is no class"),
        ([0, 1], [-1, 1], None, "label -1 of image 0 is no class"),
        ([0, 1], [0, 1], [0.5, 1.2], "confidence 1.2 of image 1 is no share from 0 to 1"),
        ([0, 1], [0, 1], [np.nan, 0.2], "confidence nan of image 0 is no share from 0 to 1"),
        ([0, 1], [0, 1], [0.5], "confidence of image 1 is no share from 0 to 1"),
        ([0, 1, 2], [0, 1], None, "need a prediction and a label of each image"),
        ([], [], None, "need a prediction and a label of each image"),
    ],
)
def test_predictions_that_are_none_are_refused_by_their_image(prediction, label, confidence, message):
    arrays = np.array(prediction, int), np.array(label, int), None if confidence is None else np.array(confidence)
    with pytest.raises(ValueError, match=message):
        answers_of_predictions(*arrays)


def test_images_that_are_read_when_they_are_asked_for_have_all_measures_of_those_in_memory(monkeypatch):
    monkeypatch.setattr(by_class, "HELD", 4 * 2500 * 20)  # twenty of forty classes at once
    f = features(n=2500, c=40, d=64)
    keys = np.random.default_rng(5).integers(0, 2**60, 2500).astype(np.uint64)
    for photographs in (None, keys):
        held = replace(f, photographs=photographs, logit_scale=60.0)
        read = replace(held, image=SomeRows(held.image, np.arange(2500)))
        one, other = (answers_of_features(features, {}, {}) for features in (held, read))
        assert one.clean.columns == other.clean.columns
        assert "confidence_temperature" in one.clean.columns
        for name in one.clean.columns:
            close = [np.asarray(side.clean[name].to_list(), float) for side in (one, other)]
            assert np.allclose(*close, rtol=1e-4, atol=1e-6), name
        for name in ("classwise_ece", "ace", "temperature"):
            assert getattr(other.of_classes, name) == pytest.approx(getattr(one.of_classes, name), rel=1e-4), name
        assert np.allclose(other.of_classes.influence, one.of_classes.influence, rtol=1e-3, atol=1e-5)
