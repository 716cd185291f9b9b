import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

from reliquant.measures import accuracy


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 40), c=st.integers(3, 12), seed=st.integers(0, 1000))
def test_top_k_equals_scikit_learn_on_awkward_shapes(n, c, seed):
    rng = np.random.default_rng(seed)
    logits, label = rng.normal(size=(n, c)), rng.integers(0, c, n)
    rank = accuracy.ranks(logits, label)
    for k in {1, min(5, c - 1)}:
        expected = top_k_accuracy_score(label, logits, k=k, labels=np.arange(c))
        assert accuracy.top_k(rank, k=k) == pytest.approx(expected)
    assert np.array_equal(rank == 0, logits.argmax(axis=1) == label)


def test_rank_agrees_with_argmax_when_all_logits_are_equal():
    assert accuracy.ranks(np.zeros((3, 3)), np.array([0, 1, 2])).tolist() == [0, 1, 2]


def test_images_outside_the_classes_have_no_rank_and_never_count_as_right():
    rank = accuracy.ranks(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([-1, 0]))
    assert rank.tolist() == [-1, 0]
    assert accuracy.top_k(rank) == 0.5


def test_a_label_outside_the_classes_is_named():
    with pytest.raises(ValueError, match="label 5 of image 1 is outside the 3 classes"):
        accuracy.ranks(np.zeros((2, 3)), np.array([0, 5]))


def test_balanced_accuracy_equals_scikit_learn():
    rng = np.random.default_rng(0)
    label, prediction = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    assert accuracy.balanced(prediction, label) == pytest.approx(balanced_accuracy_score(label, prediction))


def test_one_image_and_none_are_defined():
    assert accuracy.balanced(np.array([2]), np.array([2])) == 1.0
    assert np.isnan(accuracy.top_k(np.array([], int)))
    assert np.isnan(accuracy.balanced(np.array([], int), np.array([], int)))
    assert np.isnan(accuracy.agreement(np.array([]), np.array([])))


def test_flips_account_for_every_disagreement_and_for_the_change_of_accuracy():
    rng = np.random.default_rng(1)
    label, a, b = rng.integers(0, 3, (3, 500))
    moved = accuracy.flips(a, b, label)
    assert sum(moved.values()) == pytest.approx(1 - accuracy.agreement(a, b))
    assert moved["wrong_to_right"] - moved["right_to_wrong"] == pytest.approx(np.mean(a == label) - np.mean(b == label))
