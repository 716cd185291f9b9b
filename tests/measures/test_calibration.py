import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss

from reliquant.measures import calibration as c


def table(n, classes, seed, sharpness=3.0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes)) * sharpness
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True), rng.integers(0, classes, n), logits


@pytest.fixture(scope="module")
def torchmetrics_error():
    from reliquant.models import openclip  # noqa: F401, torchmetrics imports torchvision

    theirs = pytest.importorskip("torchmetrics.functional.classification").multiclass_calibration_error
    return lambda p, y, classes, **knobs: float(theirs(torch.tensor(p), torch.tensor(y), classes, **knobs))


def ece_written_out(confidence, correct, bins=15):
    total = 0.0
    for b in range(bins):
        low, high = b / bins, (b + 1) / bins
        inside = [(p, y) for p, y in zip(confidence, correct, strict=True) if low < p <= high or (b == 0 and p == 0)]
        if inside:
            total += abs(sum(p for p, _ in inside) - sum(y for _, y in inside)) / len(confidence)
    return total


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 60), classes=st.integers(2, 9), bins=st.integers(1, 20), seed=st.integers(0, 999))
def test_ece_equals_the_formula_and_torchmetrics_on_awkward_shapes(torchmetrics_error, n, classes, bins, seed):
    p, label, _ = table(n, classes, seed)
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == label
    assert c.ece(confidence, correct, bins=bins) == pytest.approx(ece_written_out(confidence, correct, bins))
    if confidence.max() < 1:  # torchmetrics loses a confidence of 1 in an extra bin
        for norm, mine in (("l1", c.ece), ("max", c.mce)):
            theirs = torchmetrics_error(p, label, classes, n_bins=bins, norm=norm)
            assert mine(confidence, correct, bins=bins) == pytest.approx(theirs, abs=1e-5)


def test_a_confidence_of_one_is_in_the_last_bin_and_edges_belong_to_the_bin_below():
    assert c.bins_of(np.array([1.0, 0.5, 0.50001, 0.0]), bins=2).tolist() == [1, 0, 1, 0]
    assert c.ece(np.array([1.0, 1.0]), np.array([True, False])) == 0.5


def test_calibrated_and_always_right_have_no_error_and_no_images_have_none_defined():
    assert c.ece(np.full(10, 0.7), np.arange(10) < 7) == pytest.approx(0)
    assert c.ece(np.ones(5), np.ones(5, bool)) == 0
    assert c.ece(np.array([0.8]), np.array([True])) == pytest.approx(0.2)
    for f in (c.ece, c.mce, c.ece_equal_mass, c.debiased_ce, c.confidence_gap):
        assert np.isnan(f(np.array([]), np.array([], bool)))


def test_nan_and_impossible_confidences_are_refused():
    with pytest.raises(ValueError, match="1 of 2 confidences are NaN"):
        c.ece(np.array([0.5, np.nan]), np.ones(2, bool))
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], found 0.5 to 7"):
        c.ece(np.array([0.5, 7.0]), np.ones(2, bool))


def test_equal_mass_bins_hold_equal_numbers_and_never_split_equal_confidences():
    rng = np.random.default_rng(0)
    assert np.bincount(c.equal_mass_bins(rng.random(150), bins=15)).tolist() == [10] * 15
    assert len(set(c.equal_mass_bins(np.full(30, 0.4), bins=15))) == 1


def test_nll_and_brier_equal_scikit_learn():
    p, label, logits = table(300, 6, 1)
    assert c.negative_log_likelihoods(logits, label).mean() == pytest.approx(log_loss(label, p, labels=range(6)))
    onehot = np.eye(6)[label]
    assert c.brier_scores(p, label) == pytest.approx(((p - onehot) ** 2).sum(axis=1))
    assert c.brier_scores(p, label).mean() == pytest.approx(
        brier_score_loss(label, p, labels=range(6), scale_by_half=False)
    )


def test_nll_is_finite_where_float32_softmax_underflows():
    assert c.negative_log_likelihoods(np.array([[500.0, -500.0]], np.float32), np.array([1])) == pytest.approx(1000)


def test_classwise_ece_and_ace_equal_loops_over_classes():
    p, label, _ = table(90, 3, 2)
    assert c.classwise_ece(p, label) == pytest.approx(np.mean([ece_written_out(p[:, k], label == k) for k in range(3)]))
    gaps = []
    for k in range(3):
        order = np.argsort(p[:, k])
        for part in np.split(order, 15):
            gaps.append(abs(p[part, k].mean() - (label[part] == k).mean()))
    assert c.ace(p, label) == pytest.approx(np.mean(gaps))


def test_debiased_error_is_nearer_to_zero_than_ece_for_a_calibrated_model():
    rng = np.random.default_rng(3)
    plain, debiased = [], []
    for _ in range(60):
        confidence = rng.uniform(0.3, 1, 200)
        correct = rng.random(200) < confidence
        plain.append(c.ece(confidence, correct))
        debiased.append(c.debiased_ce(confidence, correct))
    assert np.mean(debiased) < 0.7 * np.mean(plain)


def test_debiased_error_finds_a_known_gap():
    rng = np.random.default_rng(4)
    confidence = rng.uniform(0.5, 1, 100_000)
    assert c.debiased_ce(confidence, rng.random(100_000) < confidence - 0.2) == pytest.approx(0.2, abs=0.01)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 80), bins=st.integers(1, 20), seed=st.integers(0, 999))
def test_brier_decomposition_adds_up_exactly(n, bins, seed):
    rng = np.random.default_rng(seed)
    confidence, correct = rng.random(n), rng.random(n) < 0.5
    d = c.brier_decomposition(confidence, correct, bins=bins)
    total = d["reliability"] - d["resolution"] + d["uncertainty"] + d["within"]
    assert total == pytest.approx(np.mean((confidence - correct) ** 2))


def test_reliability_diagram_names_empty_bins_and_gives_the_ece_back():
    p, label, _ = table(50, 4, 6)
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == label
    r = c.reliability(confidence, correct)
    assert r.n.sum() == 50
    assert np.isnan(r.accuracy[r.n == 0]).all()
    assert np.nansum(r.n * np.abs(r.accuracy - r.confidence)) / 50 == pytest.approx(c.ece(confidence, correct))


def test_ace_of_tied_and_few_probabilities_equals_binning_written_out():
    rng = np.random.default_rng(9)
    for n in (1, 2, 7, 40):
        p = rng.integers(1, 4, (n, 3)) / 9.0
        label = rng.integers(0, 3, n)
        gaps = []
        for k in range(3):
            index = c.equal_mass_bins(p[:, k])
            gaps.append(np.mean([abs((p[index == b, k] - (label[index == b] == k)).mean()) for b in set(index)]))
        assert c.ace(p, label) == pytest.approx(np.mean(gaps))


def test_confidence_gap_is_positive_for_over_confidence():
    assert c.confidence_gap(np.array([0.9, 0.9]), np.array([True, False])) == pytest.approx(0.4)


def test_the_real_softmax_table_has_its_known_figures(shared_data):
    from safetensors.numpy import load_file

    arrays = load_file(shared_data / "softmax_tables" / "cifar10_resnet.safetensors")
    p, label = arrays["probabilities"], arrays["label"]
    correct = p.argmax(axis=1) == label
    assert correct.mean() == pytest.approx(0.9294, abs=1e-9)
    assert c.ece(p.max(axis=1), correct) == pytest.approx(0.0326, abs=5e-5)
