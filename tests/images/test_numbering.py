import datetime

import numpy as np
import pytest

from reliquant.images.numbering import NO_NAMES, number, numbered


def names(labels):
    return [f"image {i}" for i in range(len(labels))]


@pytest.mark.parametrize(
    "labels",
    [
        [0, 2, 1],
        [0.0, 2.0, 1.0],
        ["0", "2", "1"],
        ["0.0", "2.", "+1"],
        [[0], [2], [1]],
        [np.uint8(0), np.float16(2), np.int64(1)],
        ["ant", "cow", " bee "],
    ],
)
def test_labels_of_any_type_are_places_among_the_classes(labels):
    found = numbered(labels, ["ant", "bee", "cow"], names(labels))
    assert found.numbers.tolist() == [0, 2, 1]
    assert found.problem is None


def test_names_are_sorted_where_nobody_orders_them():
    found = numbered(["dog", "cat", "dog"], None, names("abc"))
    assert (found.classes, found.numbers.tolist(), found.problem) == (["cat", "dog"], [1, 0, 1], None)


def test_numerals_are_names_where_classes_are_called_so():
    assert numbered(["7", "3"], ["3", "7"], names("ab")).numbers.tolist() == [1, 0]
    assert numbered(["7up", "3"], None, names("ab")).classes == ["3", "7up"]


@pytest.mark.parametrize("labels", [[0, 1], [0.0, 1.0], ["0", "1"], ["0.0", "1.0"], [True, False], ["-1", "0"]])
def test_numbers_never_become_prompts_of_their_digits(labels):
    found = numbered(labels, None, names(labels))
    assert (found.classes, found.problem, found.numbers.tolist()) == ([], NO_NAMES, [-1, -1])


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ([0, -1, -1], "image 1: label -1 is outside the 2 classes (2 such images)"),
        (["1", "-1", "0"], "image 1: label -1 is outside the 2 classes"),
        ([0, 1, 2], "image 2: label 2 is outside the 2 classes"),
        ([0, None, 1], "image 1: has no label"),
        ([0, float("nan"), 1], "image 1: has no label"),
        (["ant", "", "bee"], "image 1: has no label"),
        ([0, 0.5, 1], "image 1: label 0.5 is no whole number"),
        (["0", "0.5", "1"], "image 1: label 0.5 is no whole number"),
        (["ant", "cat", "bee"], "image 1: label 'cat' is not among the 2 classes: ant, bee"),
        (["ant", 1, "bee"], "image 1: label 1 is not among the 2 classes: ant, bee"),
        ([0, [1, 0], 1], "image 1: label [1, 0] is neither a name nor a number"),
        ([0, datetime.date(2026, 1, 1), 1], "image 1: label datetime.date(2026, 1, 1) is neither a name nor a number"),
        ([float("inf"), 0, 1], "image 0: label inf is no whole number"),
        ([None, None, None], "has no labels"),
    ],
)
def test_the_first_label_that_is_no_class_is_named(labels, problem):
    found = numbered(labels, ["ant", "bee"], names(labels))
    assert found.problem == problem
    assert (found.numbers >= -1).all()
    with pytest.raises(ValueError) as raised:
        number(labels, ["ant", "bee"], names(labels))
    assert str(raised.value) == problem


@pytest.mark.parametrize("labels", [["cat", "dog", "-1"], ["cat", "dog", -1]])
def test_a_number_below_zero_is_no_class_among_names(labels):
    found = numbered(labels, None, names(labels))
    assert found.classes == ["cat", "dog"]
    assert found.numbers.tolist() == [0, 1, -1]
    assert found.problem.startswith("image 2: label ")


@pytest.mark.parametrize("classes", [["ant", "ant"], ["ant", ""], ["ant", 7]])
def test_classes_that_no_prompt_can_tell_are_a_problem(classes):
    assert numbered([0, 1], classes, names("ab")).problem is not None
    assert numbered(["a b", "a_b"], None, names("ab")).problem == "classes 0 and 1 are both called 'a b'"
