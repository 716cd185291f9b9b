import numpy as np
import pytest
from scipy.special import log_softmax

from reliquant.measures.conformal import GRID, Answers, crossed, halves, set_sizes, threshold, thresholds


def made(n, c=10, seed=0, sharp=2.0, noise=0.0):
    """Labels and log-probabilities of a model that is right more often than not."""
    rng = np.random.default_rng(seed)
    label, logits = rng.integers(0, c, n), rng.normal(size=(n, c))
    logits[np.arange(n), label] += 2
    return label, log_softmax(sharp * (logits + noise * rng.normal(size=(n, c))), axis=1)


def answers(label, log_p, half):
    nll = -log_p[np.arange(len(label)), label]
    return Answers(nll, np.exp(log_p.max(axis=1)), set_sizes(log_p).to_numpy(), half)


def test_a_threshold_is_the_quantile_with_the_correction_for_few_images():
    nll = np.random.default_rng(0).permutation(np.arange(1.0, 100.0))  # 1 to 99
    assert threshold(nll, 0.90) == 90  # ceil(100 x 0.9)
    assert threshold(nll, 0.95) == 95
    assert threshold(nll[:18], 0.95) == np.inf  # ceil(19 x 0.95) = 19 of 18
    assert np.isfinite(threshold(nll[:19], 0.95))


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_thresholds_keep_their_guarantee_on_new_images(level):
    rng, held = np.random.default_rng(1), []
    for _ in range(2000):
        nll = rng.exponential(size=31)
        held.append(nll[-1] <= threshold(nll[:-1], level))
    assert (
        level - 0.02 < np.mean(held) < level + 1 / 31 + 0.02
    )  # Vovk et al.: at least the level, at most 1 / (n + 1) more


def test_sizes_on_the_grid_are_counts():
    log_p = log_softmax(3 * np.random.default_rng(2).normal(size=(50, 20)), axis=1)
    found = set_sizes(log_p).to_numpy()
    for k, units in enumerate(GRID):
        assert found[:, k].tolist() == (log_p >= np.log(0.5) - units / 8).sum(axis=1).tolist()


@pytest.mark.parametrize(("c", "sharp", "n"), [(1000, 4.0, 4000), (100, 3.0, 4000), (10, 1.0, 4000), (10, 3.0, 4000)])
def test_mean_sizes_between_the_points_of_the_grid_are_exact_to_a_per_cent(c, sharp, n):
    label, log_p = made(n, c, sharp=sharp)
    found, errors = answers(label, log_p, np.zeros(n, bool)), []
    for at in np.linspace(0.1, 12, 60):
        errors.append(found.measured("size", at).mean() / (log_p >= -at).sum(axis=1).mean() - 1)
    assert np.abs(errors).max() < 0.01
    assert np.sqrt(np.mean(np.square(errors))) < 0.002


def test_a_set_that_needs_more_than_half_holds_one_class_or_none():
    label, log_p = made(200)
    found = answers(label, log_p, np.zeros(200, bool)).measured("size", 0.2)
    assert found.tolist() == (log_p.max(axis=1) >= -0.2).astype(float).tolist()


def test_beyond_the_grid_there_is_no_size_but_a_coverage():
    found = answers(*made(20), np.zeros(20, bool))
    assert np.isnan(found.measured("size", 30.0)).all()
    assert found.measured("coverage", 30.0).all()


def test_halves_are_even_and_follow_the_photograph_alone():
    for keys in (np.arange(1000, dtype=np.uint64), np.random.default_rng(0).integers(0, 2**63, 1000, dtype=np.uint64)):
        found = halves(keys)
        assert 420 < found.sum() < 580
        assert halves(keys[::-1]).tolist() == found[::-1].tolist()
    every_second = halves(np.arange(0, 2000, 2, dtype=np.uint64))  # as where labels follow the index
    assert 420 < every_second.sum() < 580


@pytest.mark.parametrize("of", ["coverage", "size"])
def test_each_half_is_measured_by_the_others_threshold(of):
    label, log_p = made(400, seed=3)
    half = np.arange(400) % 2 == 1
    calibration = answers(label, log_p, half)
    test_label, test_log_p = made(300, seed=4, noise=0.5)
    test_half = np.arange(300) % 3 == 0
    found = crossed(thresholds(calibration, 0.9), answers(test_label, test_log_p, test_half), of).estimate
    expected = []
    for own in (False, True):
        others = np.sort(calibration.nll[half != own])
        at = others[int(np.ceil(201 * 0.9)) - 1]
        sets = test_log_p[test_half == own] >= -at
        inside = sets[np.arange(len(sets)), test_label[test_half == own]]
        expected.append(inside if of == "coverage" else sets.sum(axis=1))
    assert found.value == pytest.approx(np.concatenate(expected).mean(), rel=1e-9 if of == "coverage" else 0.01)
    assert found.id.mean() == pytest.approx(0, abs=1e-9)
    assert found.ood.mean() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("of", ["coverage", "size"])
def test_influences_give_the_spread_over_other_images(of):
    values, expected = [], []
    for seed in range(300):
        calibration = answers(*made(800, seed=seed), np.arange(800) < 400)
        test = answers(*made(600, seed=1000 + seed, noise=0.7), np.arange(600) < 300)
        found = crossed(thresholds(calibration, 0.9), test, of).estimate
        values.append(found.value)
        expected.append(found.variance)
    assert np.std(values) == pytest.approx(np.sqrt(np.mean(expected)), rel=0.12)


def test_a_half_that_is_too_small_gives_nothing():
    few = answers(*made(30), np.arange(30) < 15)
    assert thresholds(few, 0.95) is None
    assert np.isfinite(crossed(thresholds(few, 0.90), few, "coverage").estimate.value)
