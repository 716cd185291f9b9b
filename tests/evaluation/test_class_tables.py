"""Tables of probabilities and logits say what the features say that they come from, OOD scores too."""

import numpy as np
import pytest

from reliquant import plugins
from reliquant.evaluation import class_tables
from reliquant.evaluation.answers import answers_of_features
from reliquant.evaluation.class_tables import answers_of_logits, answers_of_probabilities
from reliquant.evaluation.features import Features
from reliquant.evaluation.paired import measure_answers

SCORES = {name: plugins.load("score", {"score": name}) for name in ("msp", "max_logit", "energy")}


def features(n=90, c=5, d=12, seed=0):
    rng = np.random.default_rng(seed)
    text, label = rng.normal(size=(c, d)), rng.integers(0, c, n)
    image = text[label] + 1.2 * rng.normal(size=(n, d))
    unit = [(x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in (image, text)]
    return Features(*unit, label, 12.0)


def same(one, two, tolerance=1e-4):
    assert set(one) == set(two)
    for name in one:
        assert one[name]["value"] == pytest.approx(two[name]["value"], abs=tolerance, rel=1e-4), name


def test_logits_give_all_measures_and_scores_of_their_features():
    f, o = features(), features(seed=1)
    whole = measure_answers(answers_of_features(f, {"o": o}, SCORES), resamples=200)
    table = measure_answers(
        answers_of_logits(f.logits.astype(float), f.label, {"o": o.logits.astype(float)}), resamples=200
    )
    assert {"msp_auroc", "max_logit_auroc", "energy_auroc"} <= set(table["o"])
    for dataset in ("images", "o"):
        same(whole[dataset], table[dataset])


def test_probabilities_give_the_measures_of_their_features_and_the_score_msp():
    f, o = features(), features(seed=1)
    whole = measure_answers(answers_of_features(f, {"o": o}, SCORES), resamples=200)
    table = measure_answers(answers_of_probabilities(f.probabilities, f.label, {"o": o.probabilities}), resamples=200)
    same(whole["images"], table["images"], 1e-3)
    assert {name.partition("_")[0] for name in table["o"]} == {"msp"}
    same({name: value for name, value in whole["o"].items() if name.startswith("msp")}, table["o"])


def test_tables_that_are_none_are_refused_by_set_and_image():
    f = features()
    bad = f.logits.copy()
    bad[7, 2] = np.nan
    with pytest.raises(ValueError, match="logits of image 7 are NaN or infinite"):
        answers_of_logits(bad, f.label)
    with pytest.raises(ValueError, match="OOD set far: logits of image 7 are NaN or infinite"):
        answers_of_logits(f.logits, f.label, {"far": bad})
    with pytest.raises(ValueError, match="OOD set far: probabilities of 90 images are not shares"):
        answers_of_probabilities(f.probabilities, f.label, {"far": f.logits})
    with pytest.raises(ValueError, match="OOD set far: logits of 4 classes beside those of 5"):
        answers_of_logits(f.logits, f.label, {"far": f.logits[:, :4]})
    with pytest.raises(ValueError, match=r"label \d of image 0 is outside the 5 classes"):
        answers_of_logits(f.logits, f.label + 5)


def test_a_table_of_any_size_gives_the_same_in_single_precision_and_in_parts(monkeypatch):
    f = features()
    whole = answers_of_logits(f.logits, f.label)
    monkeypatch.setattr(class_tables, "MOST", 100)  # numbers, of 450
    monkeypatch.setattr(class_tables, "CHUNK", 16)
    parts = answers_of_logits(f.logits, f.label)
    assert parts.clean.equals(whole.clean)
    assert "nll_temperature" in parts.clean.columns
    for name in ("classwise_ece", "ace", "temperature"):
        assert getattr(parts.of_classes, name) == pytest.approx(getattr(whole.of_classes, name), rel=1e-5), name
