import numpy as np
import pytest
from scipy.stats import norm, t

from reliquant.measures.stats import Z95, wilson
from reliquant.report.bounds import bounds, bounds_of_pairs, errors_of


def score_interval(k, n, z):
    """Solve (p - k/n)^2 = z^2 p (1 - p) / n for p, as Wilson (1927) defines both ends."""
    return tuple(np.sort(np.roots([n + z**2, -(2 * k + z**2), k**2 / n]).real))


def test_a_symmetric_interval_is_scaled_by_students_t():
    low, high = bounds(0.3, 0.3 - Z95, 0.3 + Z95, confidence=0.99)
    assert 0.3 - low == pytest.approx(t.ppf(0.99, 199)) == high - 0.3
    assert errors_of(0.975) == pytest.approx(norm.ppf(0.975), rel=0.01)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99, 0.999])
@pytest.mark.parametrize(("k", "n"), [(300, 300), (299, 300), (295, 300), (200, 300), (1, 300), (0, 300), (4990, 5000)])
def test_bounds_of_a_share_are_never_inside_wilsons_of_that_confidence(k, n, confidence):
    value = k / n
    variance = value * (1 - value) / n
    low, high = bounds(value, *wilson(value, variance, n), confidence=confidence)
    own = score_interval(k, n, norm.ppf(confidence))
    slack = 0.02 * (own[1] - own[0])  # the score's own denominator, 1 + z^2 / n
    assert low <= own[0] + slack
    assert high >= own[1] - slack
    assert high - low <= (1.5 if confidence > 0.9 else 2.5) * (own[1] - own[0])  # and not much wider


def test_a_share_without_a_wrong_answer_asks_for_more_images_than_the_plain_scaling():
    low, high = bounds(1.0, *wilson(1.0, 0.0, 1000), confidence=0.999)
    assert 1 - low == pytest.approx((1 - wilson(1.0, 0.0, 1000)[0]) * (errors_of(0.999) / Z95) ** 2)
    assert high == 1.0


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_bounds_of_rare_differences_are_the_score_interval_of_a_poisson_mean(confidence):
    n, z = 1000, errors_of(confidence)
    for lost in (0, 1, 4, 20):
        low, _ = bounds_of_pairs(-lost / n, np.sqrt(lost) / n, 1 / n, confidence=confidence)
        mean = -low * n  # solves (lost - mean)^2 = z^2 mean
        assert (lost - mean) ** 2 == pytest.approx(z**2 * mean, rel=1e-9)


@pytest.mark.parametrize("confidence", [0.5, 0.0, 1.0, 95.0, float("nan")])
def test_a_confidence_that_cannot_be_asked_for_is_refused(confidence):
    with pytest.raises(ValueError, match=r"must be above 0.5 and at most 0.9999"):
        errors_of(confidence)
