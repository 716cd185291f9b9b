import numpy as np
import pytest

from reliquant.images.dataset import Dataset, require_labels, subset


def test_a_label_outside_the_classes_is_named():
    with pytest.raises(ValueError, match="two: label 2 is outside the 2 classes"):
        Dataset(["a", "b"], ["{}"], np.array([0, 2]), lambda i: None, ["one", "two"])


def test_an_empty_dataset_is_refused():
    with pytest.raises(ValueError, match="empty"):
        Dataset(["a"], ["{}"], np.array([], int), lambda i: None, [])


def test_a_template_without_a_place_for_the_class_is_refused():
    with pytest.raises(ValueError, match="'a photo' must hold"):
        Dataset(["a"], ["a photo"], np.array([0]), lambda i: None, ["x"])


def test_a_subset_is_a_fixed_choice_in_order_and_smaller_ones_lie_in_larger_ones():
    chosen = subset(1000, 100)
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert len(chosen) == 100
    assert chosen.tolist() == subset(1000, 100).tolist()
    assert set(subset(1000, 10)) < set(chosen)


@pytest.mark.parametrize("limit", [None, 5, 6])
def test_all_images_are_taken_where_there_are_no_more_than_asked_for(limit):
    assert subset(5, limit).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("classes", "labels", "problem", "told"),
    [
        (["a", "b"], [0, -1, -1], "0.tar/1: has no label", "pets: 0.tar/1: has no label"),
        (["a", "b"], [0, -1, -1], None, "pets: 2 of 3 images have no class"),
        ([], [-1, -1], None, "pets: has no classes to tell apart"),
        (["images"], [0, 0], None, "pets: has one class alone, 'images'; there is nothing to tell apart"),
    ],
)
def test_labels_that_are_no_classes_are_refused_where_they_are_needed(classes, labels, problem, told):
    with pytest.raises(ValueError) as raised:
        require_labels(classes, np.array(labels), problem, "pets")
    assert str(raised.value) == told
    require_labels(["a", "b"], np.array([0, 1]), None, "pets")
