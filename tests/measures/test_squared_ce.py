import itertools

import numpy as np
import pytest
from scipy.stats import ncx2

from reliquant.measures.calibration import equal_mass_bins
from reliquant.measures.resampling import weights
from reliquant.measures.squared_ce import SquaredCE, squared_ce


def sums(gap, bin_of, weight=None):
    """Sums over bins, (bins, b), of gaps, weights and squares."""
    weight = np.ones((1, len(gap))) if weight is None else weight
    onehot = np.eye(bin_of.max() + 1)[bin_of]
    return [(weight * part) @ onehot for part in (gap, np.ones(len(gap)), gap**2)]


def test_it_is_the_mean_over_pairs_written_out():
    rng = np.random.default_rng(0)
    confidence, correct, bin_of = rng.random(12), rng.random(12) < 0.5, np.repeat([0, 1, 2], [7, 4, 1])
    total, gap = 0.0, confidence - correct
    for size, first in ((7, 0), (4, 7)):  # the bin of one image says nothing
        pairs = [gap[i] * gap[j] for i, j in itertools.permutations(range(first, first + size), 2)]
        total += size / 11 * np.mean(pairs)
    assert squared_ce(confidence, correct, bin_of) == pytest.approx(total)


@pytest.mark.parametrize("gap", [0.0, 0.05])
def test_its_mean_is_the_true_square_and_replicates_spread_like_it(gap):
    rng, values, spreads = np.random.default_rng(1), [], []
    for study in range(300):
        confidence = rng.beta(4, 2, 500)
        correct = rng.random(500) < np.clip(confidence - gap, 0, 1)
        bin_of = equal_mass_bins(confidence)
        own = SquaredCE(*(part.T for part in sums(confidence - correct, bin_of)))
        weight = weights(np.arange(500, dtype=np.uint64) + np.uint64(1000 * study), np.zeros(500, int))
        again, count, _ = sums(confidence - correct, bin_of, weight)
        values.append(own.value[0])
        spreads.append(own.replicate(again.T, count.T).std())
    assert np.mean(values) == pytest.approx(gap**2, abs=4 * np.std(values) / 300**0.5 + 1e-4)
    wider = np.sqrt(np.mean(np.square(spreads))) / np.std(values)
    assert 0.9 < wider < (1.25 if gap == 0 else 1.1)  # a little too wide where there is nothing but noise


def test_two_calibrated_models_of_other_sharpness_do_not_differ():
    rng, found = np.random.default_rng(2), []
    for _ in range(300):
        values = []
        for sharpness in (19, 4):
            confidence = rng.beta(sharpness, 1, 2000)
            values.append(squared_ce(confidence, rng.random(2000) < confidence, equal_mass_bins(confidence)))
        found.append(values[1] - values[0])
    assert abs(np.mean(found)) < 3 * np.std(found) / 300**0.5


def test_no_bin_of_two_images_gives_nan():
    assert np.isnan(squared_ce(np.array([0.2, 0.9]), np.array([True, False]), np.array([0, 1])))


@pytest.mark.parametrize("observed", [-0.5, 0.2, 2.0, 20.0])
def test_the_ends_are_true_errors_that_noncentral_chi_square_leaves_a_chance_of_one_in_40(observed):
    """Of 15 bins of equal noise v, 15 (value / v + 1) is a noncentral chi-square variate of 15 degrees of freedom."""
    noise, m = 0.001, 100
    mean = np.full((15, 1), np.sqrt((observed + 1) * noise))  # so that the value is `observed` times the noise
    one = SquaredCE(mean * m, np.full((15, 1), float(m)), m * mean**2 + noise * m * (m - 1))
    assert one.value == pytest.approx(observed * noise)
    low, high = (float(end[0] / noise) for end in one.interval)
    assert low < observed < high
    for end, chance in ((low, 0.975), (high, 0.025)):
        if end > 0:  # no true error lies below
            assert ncx2(15, 15 * end).cdf(15 * (observed + 1)) == pytest.approx(chance, abs=0.003)


def test_bins_without_noise_leave_room_for_one_wrong_answer():
    """All right, at a confidence of 0.99: with three wrong ones of 300, the gaps would be nearly 0."""
    bin_of = np.repeat(np.arange(15), 20)
    one = SquaredCE(*(part.T for part in sums(np.full(300, -0.01), bin_of)))
    assert one.value == pytest.approx(1e-4)
    low, high = (float(end[0]) for end in one.interval)
    assert low < 0
    assert 2e-4 < high < 1e-3
    calibrated = SquaredCE(*(part.T for part in sums(np.zeros(300), bin_of)))
    assert calibrated.value == 0
    assert calibrated.interval[0] < 0 < calibrated.interval[1]


def test_the_most_that_the_root_may_be_of_is_never_below_that_of_an_error_of_0():
    rng, bin_of, below = np.random.default_rng(6), np.repeat(np.arange(15), 20), 0
    for _ in range(30):
        gap = 0.5 - (rng.random(300) < 0.5)
        one = SquaredCE(*(part.T for part in sums(gap, bin_of)))
        noise = 2 * (0.25 / 20) ** 2 / 15
        if one.value < 0:
            below += 1
            assert one.most > one.interval[1]
            assert one.most > 1.5 * noise**0.5
        else:
            assert one.most == one.interval[1]
    assert below > 5


def test_about_95_of_100_intervals_of_an_error_hold_it():
    rng, held = np.random.default_rng(4), 0
    for _ in range(400):
        confidence = rng.beta(4, 2, 500)
        gap, bin_of = confidence - (rng.random(500) < confidence - 0.1), equal_mass_bins(confidence)
        low, high = (float(end[0]) for end in SquaredCE(*(part.T for part in sums(gap, bin_of))).interval)
        held += low <= 0.01 <= high
    assert 0.925 < held / 400 < 0.98
