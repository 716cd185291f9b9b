import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from reliquant.measures import selective
from reliquant.measures.stats import variance_of_mean, wilson


def data(n, seed, levels=None):
    rng = np.random.default_rng(seed)
    confidence = rng.random(n) if levels is None else rng.integers(1, levels + 1, n) / levels
    return confidence, rng.random(n) < 0.3 + 0.6 * confidence


@pytest.mark.parametrize("levels", [None, 3])
def test_aurc_is_the_mean_risk_of_all_at_least_as_confident(levels):
    confidence, correct = data(57, 0, levels)
    expected = np.mean([np.mean(~correct[confidence >= c]) for c in confidence])
    assert selective.aurc(confidence, correct)[0] == pytest.approx(expected)


@pytest.mark.parametrize("levels", [None, 3])
def test_augrc_is_the_area_under_the_curve_of_wrong_and_accepted_images(levels):
    confidence, correct = data(57, 0, levels)
    thresholds = [np.inf, *np.unique(confidence)[::-1]]
    coverage = [np.mean(confidence >= t) for t in thresholds]
    risk = [np.mean((confidence >= t) & ~correct) for t in thresholds]
    assert selective.augrc(confidence, correct)[0] == pytest.approx(np.trapezoid(risk, coverage))


@pytest.mark.parametrize("levels", [None, 3])
def test_augrc_is_what_accuracy_and_auroc_make_of_it(levels):
    confidence, correct = data(200, 3, levels)
    a, auroc = correct.mean(), roc_auc_score(correct, confidence)
    assert selective.augrc(confidence, correct)[0] == pytest.approx((1 - auroc) * a * (1 - a) + (1 - a) ** 2 / 2)


@pytest.mark.parametrize(
    "f", [selective.aurc, selective.augrc, selective.excess_aurc, selective.misclassification_auroc]
)
@pytest.mark.parametrize("levels", [None, 8])
def test_influences_give_the_spread_of_a_plain_bootstrap(f, levels):
    confidence, correct = data(400, 1, levels)
    rng = np.random.default_rng(2)
    boot = [f(confidence[i], correct[i])[0] for i in rng.integers(0, 400, (1500, 400))]
    influence = f(confidence, correct)[1]
    assert np.sqrt(influence.var() / 400) == pytest.approx(np.std(boot), rel=0.1)


def test_a_perfect_ranking_has_little_excess_and_the_reverse_much():
    correct = np.arange(1000) < 800
    assert selective.excess_aurc(-np.arange(1000.0) / 1000 + 1, correct)[0] == pytest.approx(0, abs=1e-3)
    assert selective.excess_aurc(np.arange(1000.0) / 1000, correct)[0] > 0.3


def test_flipped_gap_is_the_gap_of_the_flipped_images_with_the_spread_of_a_plain_bootstrap():
    confidence, correct = data(400, 4)
    flipped = np.random.default_rng(5).random(400) < 0.3
    value, influence = selective.flipped_confidence_gap(confidence, correct, flipped)
    assert value == pytest.approx(confidence[flipped].mean() - correct[flipped].mean())
    draws = np.random.default_rng(6).integers(0, 400, (1500, 400))
    boot = [selective.flipped_confidence_gap(confidence[i], correct[i], flipped[i])[0] for i in draws]
    assert np.sqrt(influence.var() / 400) == pytest.approx(np.std(boot), rel=0.1)
    assert np.isnan(selective.flipped_confidence_gap(confidence, correct, np.zeros(400, bool))[0])


def test_misclassification_auroc_equals_scikit_learn():
    confidence, correct = data(200, 3, 10)
    assert selective.misclassification_auroc(confidence, correct)[0] == pytest.approx(
        roc_auc_score(correct, confidence)
    )


def test_all_correct_all_wrong_one_and_none_are_defined():
    c = np.array([0.2, 0.9])
    assert selective.aurc(c, np.ones(2, bool))[0] == 0
    assert selective.excess_aurc(c, np.ones(2, bool))[0] == 0
    assert selective.aurc(c, np.zeros(2, bool))[0] == 1
    assert selective.augrc(c, np.ones(2, bool))[0] == 0
    assert selective.augrc(c, np.zeros(2, bool))[0] == 0.5
    assert np.isnan(selective.augrc(c[:0], np.array([], bool))[0])
    assert selective.excess_aurc(c, np.zeros(2, bool))[0] == 0
    assert np.isnan(selective.misclassification_auroc(c, np.ones(2, bool))[0])
    assert selective.aurc(c[:1], np.array([False]))[0] == 1
    assert np.isnan(selective.aurc(c[:0], np.array([], bool))[0])


def test_the_change_of_an_estimate_equal_to_another_has_room_for_a_flip_and_p_of_one():
    rng = np.random.default_rng(0)
    confidence, correct = rng.random(400), rng.random(400) < 0.8
    one = selective.estimated(selective.aurc, confidence, correct)
    assert one.flip == pytest.approx(np.sqrt(np.mean(one.turns**2)))
    low, high, p = one.minus(one)
    ends = wilson(one.value, variance_of_mean(one.influence), 400)
    side = np.hypot(1.96 * one.flip / 400, (ends[1] - one.value) - (one.value - ends[0]))
    assert (low, high) == pytest.approx((-side, side), rel=1e-3)
    assert p == 1


def test_intervals_of_few_wrong_answers_are_students_t():
    rng = np.random.default_rng(0)
    confidence, correct = rng.random(400), np.arange(400) >= 5
    one = selective.estimated(selective.misclassification_auroc, confidence, correct)
    assert one.interval == wilson(one.value, variance_of_mean(one.influence), 400, freedom=4)


@pytest.mark.parametrize(("gap", "n"), [(0.9, 1), (-0.4, 3), (0.7, 40)])
def test_the_interval_of_a_mean_gap_lies_between_minus_one_and_one_and_holds_it(gap, n):
    influence = np.zeros(100)
    influence[:n] = 100 / n * np.linspace(-0.1, 0.1, n) * (n > 1)
    low, high = selective.interval_of_gap(gap, influence, n)
    assert -1 <= low < gap < high <= 1
    assert high - low > 1.96 * 2 * (1 - gap**2) ** 0.5 / (n + 1)  # as if one more answer had come to either end


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("measure", list(selective.TURNS))
def test_an_answer_that_turns_wrong_moves_a_measure_as_far_as_is_said(measure, ties):
    rng = np.random.default_rng(3)
    confidence = rng.integers(1, 40, 2000) / 40 if ties else rng.random(2000)
    correct = rng.random(2000) < 0.3 + 0.6 * confidence
    one = selective.estimated(measure, confidence, correct)
    for image in rng.choice(np.flatnonzero(correct), 60, replace=False):
        turned = correct.copy()
        turned[image] = False
        moved = (measure(confidence, turned)[0] - one.value) * 2000
        assert moved == pytest.approx(one.turns[image], abs=0.01 * np.abs(one.turns).max())
