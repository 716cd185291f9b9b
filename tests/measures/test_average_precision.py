import numpy as np
import pytest

from reliquant.measures.average_precision import average_precisions, moved_by_answers
from reliquant.measures.retrieval import Captioned, task, unit_rows


def test_average_precision_by_class_leaves_the_query_out():
    rng = np.random.default_rng(0)
    label = np.array([0, 0, 0, 1, 1, -1, 2, 1])
    one = Captioned(unit_rows(rng.normal(size=(8, 5))), np.eye(5, dtype=np.float32), np.full(5, -1), label)
    asked = task("image_to_image", one, one)
    expected = []
    for i in asked.asker:
        order = [j for j in np.argsort(-(one.image[i].astype(float) @ one.image.T.astype(float))) if j != i]
        right = label[order] == label[i]
        expected.append(((np.cumsum(right) / np.arange(1, 8)) * right).sum() / right.sum())
    assert len(expected) == 6
    np.testing.assert_allclose(average_precisions(asked), expected)


def test_equal_images_are_equally_near_though_their_products_are_computed_in_blocks():
    rng = np.random.default_rng(1)
    rows = unit_rows(rng.normal(size=(300, 37)))
    rows[1:] = rows[1]
    one = Captioned(rows, rows[:1], np.array([-1]), np.arange(300) % 2)
    found = average_precisions(task("image_to_image", one, one))
    # image 0 stands alone, before 299 that are equally near, of which 149 are of its class
    assert found[0] == pytest.approx(sum(149 / 299 * (1 + j * 148 / 298) / (1 + j) for j in range(299)) / 149)
    # image 2 has 298 equally near, of which 148 are of its class, and then image 0, which is of it too
    equal = sum(148 / 298 * (1 + j * 147 / 297) / (1 + j) for j in range(298))
    assert found[2] == pytest.approx((equal + 149 / 299) / 149)


def test_what_comes_first_comes_before_all_others():
    rng = np.random.default_rng(2)
    one = Captioned(unit_rows(rng.normal(size=(9, 4))), np.eye(4, dtype=np.float32), np.full(4, -1), np.arange(9) % 3)
    asked = task("image_to_image", one, one)
    right = np.stack([np.flatnonzero((one.label == one.label[i]) & (np.arange(9) != i)) for i in range(9)])
    np.testing.assert_allclose(average_precisions(asked, (right, -np.ones(right.shape))), 1)


def test_what_an_item_moves_is_what_leaving_it_out_does():
    rng = np.random.default_rng(3)
    label = np.arange(14) % 3
    one = Captioned(unit_rows(rng.normal(size=(14, 4))), np.eye(4, dtype=np.float32), np.full(4, -1), label)
    asked = task("image_to_image", one, one)
    moved, whole = moved_by_answers(asked), average_precisions(asked)
    for item in range(14):
        rest = np.arange(14) != item
        left = Captioned(one.image[rest], one.text, one.image_of, label[rest])
        without = average_precisions(task("image_to_image", left, left))
        assert moved[item] == pytest.approx((without - whole[rest]).sum())
