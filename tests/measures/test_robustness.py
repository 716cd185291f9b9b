"""Effective robustness beside the published formula, a line fitted by another program, and a plain bootstrap."""

import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import linregress

from reliquant.measures.robustness import robustness
from reliquant.measures.shift import effective_robustness
from reliquant.measures.stats import wilson


def answers(n, accuracies, seed=0):
    """Draw right answers that models share: an image that is hard for one is hard for all."""
    rng = np.random.default_rng(seed)
    hard = rng.random((n, 1))
    return hard + 0.1 * rng.normal(size=(n, len(accuracies))) < np.array(accuracies)


CLEAN, SHIFTED = answers(800, [0.9, 0.8, 0.7, 0.6, 0.75]), answers(500, [0.7, 0.6, 0.45, 0.35, 0.7], 1)
BASELINE = np.array([True, True, True, True, False])
LABELS = np.zeros(800, int), np.zeros(500, int)
NONE = np.full(5, -1)


def test_values_are_those_of_the_published_formula():
    found = robustness(CLEAN, SHIFTED, BASELINE, NONE, LABELS, resamples=200)
    x, y = CLEAN.mean(axis=0), SHIFTED.mean(axis=0)
    assert found.effective.value == pytest.approx(effective_robustness(x, y, x[BASELINE], y[BASELINE]))
    assert found.effective.value[4] > 0.1
    assert found.effective.p[4] < 0.02


def test_on_probit_axes_the_line_is_that_of_a_linear_regression():
    found = robustness(CLEAN, SHIFTED, BASELINE, NONE, LABELS, axis="probit", resamples=200)
    x, y = ndtri(CLEAN.mean(axis=0)), ndtri(SHIFTED.mean(axis=0))
    line = linregress(x[BASELINE], y[BASELINE])
    assert found.slope.value[0] == pytest.approx(line.slope)
    assert found.intercept.value[0] == pytest.approx(line.intercept)
    assert found.r_squared.value[0] == pytest.approx(line.rvalue**2)
    expected = SHIFTED.mean(axis=0) - ndtr(line.slope * x + line.intercept)
    assert found.effective.value == pytest.approx(expected)


def test_intervals_are_those_of_a_plain_bootstrap_that_fits_the_line_anew():
    fp32 = np.array([-1, -1, -1, -1, 1])
    found = robustness(CLEAN, SHIFTED, BASELINE, fp32, LABELS, resamples=4000)
    rng, drawn = np.random.default_rng(5), []
    for _ in range(2000):
        x, y = (right[rng.integers(0, len(right), len(right))].mean(axis=0) for right in (CLEAN, SHIFTED))
        drawn.append(effective_robustness(x, y, x[BASELINE], y[BASELINE]))
    drawn = np.array(drawn)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    assert found.effective.low == pytest.approx(low, abs=0.006)
    assert found.effective.high == pytest.approx(high, abs=0.006)
    change = drawn[:, 4] - drawn[:, 1]
    assert found.change.value[4] == pytest.approx(found.effective.value[4] - found.effective.value[1])
    ends = np.quantile(change, [0.025, 0.975])
    assert [found.change.low[4], found.change.high[4]] == pytest.approx(ends, abs=0.006)
    assert np.isnan(found.change.value[:4]).all()


def test_a_variant_that_answers_as_its_fp32_changes_by_exactly_nothing():
    same = np.concatenate([CLEAN, CLEAN[:, :1]], axis=1), np.concatenate([SHIFTED, SHIFTED[:, :1]], axis=1)
    baseline, fp32 = np.array([*BASELINE, False]), np.array([-1] * 5 + [0])
    found = robustness(*same, baseline, fp32, LABELS, resamples=300)
    assert (found.change.value[5], found.change.low[5], found.change.high[5], found.change.p[5]) == (0, 0, 0, 1)


def test_of_two_baselines_the_line_passes_through_both():
    two = np.array([True, False, False, True, False])
    found = robustness(CLEAN, SHIFTED, two, NONE, LABELS, resamples=200)
    assert found.effective.value[two] == pytest.approx([0, 0], abs=1e-12)
    assert found.effective.high[two] == pytest.approx([0, 0], abs=1e-6)


def test_accuracies_have_wilsons_interval_and_what_never_varies_has_none():
    right = np.concatenate([CLEAN, np.ones((800, 2), bool)], axis=1)
    away = np.concatenate([SHIFTED, np.ones((500, 1), bool), SHIFTED[:, 4:]], axis=1)
    fp32 = np.array([-1, -1, -1, -1, -1, -1, 5])
    found = robustness(right, away, np.array([*BASELINE, False, False]), fp32, LABELS, resamples=2000)
    assert (found.clean.low[5], found.clean.high[5]) == pytest.approx(wilson(1.0, 0.0, 800))
    assert found.clean.low[5] < 0.996
    exact = proportion_interval(CLEAN[:, 0].mean(), 800)
    assert (found.clean.low[0], found.clean.high[0]) == pytest.approx(exact, abs=0.002)
    assert (found.shifted.low[5], found.shifted.high[5]) == pytest.approx(wilson(1.0, 0.0, 500))
    for part in (found.effective, found.change):
        assert np.isnan([part.low[5:], part.high[5:], part.p[5:]]).all()
    assert np.isfinite(found.effective.value).all()
    assert np.isfinite([found.effective.low[:5], found.effective.p[:5]]).all()
    assert found.change.value[6] == pytest.approx(found.effective.value[6] - found.effective.value[5])


def proportion_interval(share, n, z=1.959964):
    """Wilson's interval as Wilson (1927) has it, by its two roots."""
    roots = np.roots([1 + z**2 / n, -(2 * share + z**2 / n), share**2])
    return sorted(roots)


def test_baselines_of_one_accuracy_make_no_line():
    with pytest.raises(ValueError, match="needs baselines of at least two different clean accuracies"):
        robustness(CLEAN, SHIFTED, np.arange(5) == 2, NONE, LABELS)
