import numpy as np
import pytest

from reliquant.evaluation.features import Features
from reliquant.evaluation.measure import measure_features, measure_probabilities


def features(n=80, c=6, d=16, seed=0, noise=0.5):
    rng = np.random.default_rng(seed)
    text = np.random.default_rng(9).normal(size=(c, d))
    label = np.arange(n) % c
    image = text[label] + noise * np.sqrt(d) * rng.normal(size=(n, d))
    unit = [(x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in (image, text)]
    return Features(*unit, label, 20.0)


def max_cosine(found, train):
    return found.cosine.max(axis=1).astype(float)


def test_features_are_measured_one_object_a_dataset():
    found = measure_features(
        features(), {"o": features(noise=20.0, seed=4)}, {"cosine": max_cosine}, resamples=200, name="d"
    )
    assert set(found) == {"d", "o"}
    assert set(found["d"]["accuracy"]) == {"value", "low", "high", "n"}
    assert {"ece", "nll", "brier", "best_temperature", "classwise_ece"} <= set(found["d"])
    assert found["o"]["cosine_auroc"]["value"] > 0.5
    with pytest.raises(ValueError, match="an OOD set has the name of the in-distribution set, 'd'"):
        measure_features(features(), {"d": features()}, {}, name="d")


def test_probabilities_are_measured_as_the_features_they_come_from():
    f = features()
    one, two = (
        measure_features(f, {}, {}, resamples=100)["features"],
        measure_probabilities(f.probabilities, f.label, resamples=100),
    )
    assert one.keys() == two.keys()
    for name in one:
        assert one[name]["value"] == pytest.approx(two[name]["value"], rel=1e-4), name


@pytest.mark.parametrize("wrong", [np.full((4, 3), 0.9), np.full((4, 3), np.nan), np.array([[2.0, -1.0, 0.0]] * 4)])
def test_tables_that_are_no_probabilities_are_refused(wrong):
    with pytest.raises(ValueError, match="4 images are not shares that sum to 1, first image 0"):
        measure_probabilities(wrong, np.zeros(4, int))


def test_a_probability_of_zero_gives_a_finite_nll():
    found = measure_probabilities(np.array([[1.0, 0.0], [1.0, 0.0]], np.float32), np.array([0, 1]), resamples=20)
    assert np.isfinite(found["nll"]["value"])


def test_real_clip_embeddings_give_their_known_figures(shared_data):
    from safetensors.numpy import load_file

    a = load_file(shared_data / "clip_vit_b_32_openai_cifar10" / "embeddings.safetensors")
    known = Features(a["image"], a["text"], a["label"].astype(np.int64), float(a["logit_scale"].item()))
    found = measure_features(known, {}, {}, resamples=200)["features"]
    assert found["accuracy"]["value"] == pytest.approx(0.896)
    assert found["ece"]["value"] == pytest.approx(0.1021, abs=5e-5)
    assert found["confidence_gap"]["value"] == pytest.approx(0.795 - 0.896, abs=5e-4)


def test_calibration_errors_as_published_have_no_interval_and_what_is_debiased_has_one():
    f = features(n=200, noise=1.0)
    found = measure_probabilities(f.probabilities, f.label, resamples=200)
    for name in ("classwise_ece", "ace", "mce", "debiased_ce", "ece", "smooth_ece"):
        assert found[name]["value"] > 0
        assert (found[name]["low"], found[name]["high"]) == (None, None), name
    for name in ("squared_ce", "rms_ce", "best_temperature"):
        assert found[name]["low"] < found[name]["value"] < found[name]["high"], name


def test_a_label_outside_the_table_is_refused():
    with pytest.raises(ValueError, match="label 2 of image 1 is outside the 2 classes"):
        measure_probabilities(np.full((2, 2), 0.5), np.array([0, 2]))
    with pytest.raises(ValueError, match=r"need probabilities \(n, c\) and n > 0 labels, got \(2, 2\) and \(3,\)"):
        measure_probabilities(np.full((2, 2), 0.5), np.zeros(3, int))


def test_scores_that_fit_are_given_the_training_features():
    given = []

    def fitted(features, train):
        given.append(train)
        return max_cosine(features, train)

    train = features(seed=5)
    measure_features(features(), {"o": features(seed=4)}, {"fitted": fitted}, resamples=20, train=train)
    assert given == [train, train]
