import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from reliquant.measures import calibration as c
from reliquant.measures.temperature import best_temperature, best_temperature_influence


def test_best_temperature_recovers_the_factor_that_spoiled_the_logits():
    rng = np.random.default_rng(7)
    logits = rng.normal(size=(40_000, 5)) * 2
    label = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)  # drawn from softmax(logits)
    assert best_temperature(logits * 3, label) == pytest.approx(3, rel=0.03)


def test_best_temperature_is_where_scipy_finds_it_from_logits_and_from_probabilities():
    rng = np.random.default_rng(8)
    logits = rng.normal(size=(700, 4)) * 4
    label = np.where(rng.random(700) < 0.6, logits.argmax(axis=1), rng.integers(0, 4, 700))

    def nll(log_t):
        return c.negative_log_likelihoods(logits / np.exp(log_t), label).mean()

    expected = np.exp(minimize_scalar(nll, bounds=(-5, 5), method="bounded", options={"xatol": 1e-8}).x)
    p = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
    assert best_temperature(logits, label) == pytest.approx(expected, rel=1e-5)
    assert best_temperature(p, label, of="probabilities") == pytest.approx(expected, rel=1e-5)


def test_best_temperature_of_always_right_is_tiny_and_of_always_wrong_is_huge():
    logits = np.array([[1.0, 0.0], [0.0, 2.0]])
    assert best_temperature(logits, np.array([0, 1])) < 0.05
    assert best_temperature(logits, np.array([1, 0])) > 500


def test_the_interval_of_the_best_temperature_is_that_of_a_bootstrap(spoiled):
    logits, _, label = spoiled
    _, influence = best_temperature_influence(logits, label)
    rng = np.random.default_rng(1)
    draws = (rng.integers(400, size=400) for _ in range(200))
    spread = np.std([best_temperature(logits[k], label[k]) for k in draws])
    assert influence.std() / 20 == pytest.approx(spread, rel=0.15)
