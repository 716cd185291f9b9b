import numpy as np
import pytest

from reliquant.measures.turns import flip_size, sizes, turn_size

C = np.array([0.9, 0.8, 0.6, 0.4])


def columns(right):
    """Records of four images of five classes, whose other classes share what is left alike."""
    right = np.asarray(right, float)
    rest = (1 - C) / 4
    found = {"accuracy": right, "confidence_gap": C - right, "nll": -np.log(np.where(right, C, rest))}
    found["brier"] = np.where(right, (1 - C) ** 2 + 4 * rest**2, C**2 + (1 - rest) ** 2 + 3 * rest**2)
    found["balanced_accuracy"] = right * np.array([2, 2 / 3, 2 / 3, 2 / 3])
    return {name: values[:, None] for name, values in found.items()}


def test_an_answer_that_turns_scores_as_if_the_next_class_had_all_that_is_left():
    nll = np.log(C / np.array([0.1, 0.2, 0.4, 0.4]))  # at 0.4 the next class has 0.4 at most
    assert turn_size(columns([1, 1, 1, 1]), "nll") == pytest.approx(np.sqrt(np.mean(nll**2)))
    brier = columns([1, 1, 1, 1])["brier"][:, 0]
    wrong = np.array([2 * 0.9**2, 2 * 0.8**2, 2 * 0.6**2, 0.4**2 + 0.6**2])
    assert turn_size(columns([1, 1, 1, 1]), "brier") == pytest.approx(np.sqrt(np.mean((wrong - brier) ** 2)))
    rest = (1 - C) / 4
    assert turn_size(columns([0, 0, 0, 0]), "nll") == pytest.approx(
        np.sqrt((np.sum(np.log(C / rest) ** 2) + np.mean(np.log(C / rest) ** 2)) / 5)
    )


def test_wrong_answers_that_are_seen_outweigh_the_one_that_is_not():
    many = {name: np.repeat(part, 100, axis=0) for name, part in columns([1, 1, 1, 0]).items()}
    assert turn_size(many, "nll") == pytest.approx(np.log(0.4 / 0.15), rel=0.02)
    few = turn_size(columns([1, 1, 1, 0]), "nll")
    assert few > 1.2 * np.log(0.4 / 0.15)  # a sure answer may be the next


def test_shares_and_gaps_turn_by_one_and_balanced_accuracy_by_what_an_image_weighs():
    for name in ("accuracy", "agreement", "confidence_gap", "squared_ce"):
        assert turn_size(columns([1, 1, 1, 0]), name) == 1
    weights = np.array([2, 2 / 3, 2 / 3, 2 / 3])
    assert turn_size(columns([1, 1, 1, 1]), "balanced_accuracy") == pytest.approx(np.sqrt(np.mean(weights**2)))
    assert turn_size(columns([0, 0, 0, 0]), "balanced_accuracy") == 1


def test_a_flip_is_as_large_as_wrong_answers_differ_from_right_ones_where_there_are_both():
    found = columns([1, 1, 1, 0])
    nll = found["nll"][:, 0]
    assert flip_size(found, "nll") == pytest.approx(abs(nll[3] - nll[:3].mean()))
    assert flip_size(found, "accuracy") == 1
    for right in ([1, 1, 1, 1], [0, 0, 0, 0]):
        assert flip_size(columns(right), "nll") == flip_size(columns(right), "confidence_gap") == 1


def test_a_confidence_of_exactly_one_has_a_finite_size():
    found = columns([1, 1, 1, 1])
    found["confidence_gap"] = np.zeros((4, 1))
    assert 10 < turn_size(found, "nll") < 20


def test_sizes_of_a_cell_are_means_over_variant_and_fp32():
    both = [columns([1, 1, 1, 0]), columns([1, 1, 1, 1])]
    found = sizes(turn_size, [both, both[::-1]], ["nll", "accuracy"])
    expected = np.mean([turn_size(one, "nll") for one in both])
    assert found == pytest.approx(np.array([[expected, 1], [expected, 1]]))
