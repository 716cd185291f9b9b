import numpy as np
import pytest

from reliquant.measures.retrieval import Captioned, require_same_set, right_answers, task, unit_rows

AXES = np.eye(4, dtype=np.float32)


def captioned(image_of=(0, 0, 1, 2), **more):
    return Captioned(AXES[:3], AXES, np.array(image_of), **more)


def test_a_row_without_direction_is_named():
    rows = np.ones((3, 2))
    rows[1] = 0
    with pytest.raises(
        ValueError, match=r"^texts: row 1 holds only zeros: it has no direction, and cannot be searched$"
    ):
        unit_rows(rows, "texts")
    rows[1, 1] = np.nan
    with pytest.raises(ValueError, match=r"^rows: row 1 holds a number that is not finite"):
        unit_rows(rows)


@pytest.mark.parametrize("wrong", [0.0, 0.5, np.nan, np.inf])
def test_rows_that_are_not_of_length_1_are_refused_by_number(wrong):
    image = AXES[:3].copy()
    image[2, 2] = wrong
    with pytest.raises(
        ValueError, match=f"^image 2 has length {wrong:.4g} instead of 1: divide each row by its length"
    ):
        Captioned(image, AXES, np.zeros(4, np.int64))


def test_arrays_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="text 3 is of image 3; images are 0 to 2, and -1 is none"):
        captioned((0, 0, 1, 3))
    with pytest.raises(ValueError, match=r"image_of has shape \(3,\); there are 4 rows, so it must be \(4,\)"):
        captioned((0, 0, 1))
    with pytest.raises(ValueError, match="label -2 is below -1, which stands for an image of no class"):
        captioned(label=np.array([0, -2, 1]))
    with pytest.raises(ValueError, match="images have 3 numbers a row and texts 4: they must be of one model"):
        Captioned(np.eye(3, dtype=np.float32), AXES, np.zeros(4, np.int64))
    with pytest.raises(ValueError, match=r"image is float64 of shape"):
        Captioned(np.eye(4), AXES, np.zeros(4, np.int64))


def test_what_has_no_right_answer_asks_nothing_and_stays_in_the_gallery():
    one = captioned((0, 0, -1, 2), label=np.array([7, -1, 7]))
    by_image, by_text, alike = (task(d, one, one) for d in ("image_to_text", "text_to_image", "image_to_image"))
    assert by_image.asker.tolist() == [0, 2]
    assert (len(by_image.gallery), by_image.candidates) == (4, 4)
    assert by_text.asker.tolist() == [0, 0, 2]
    assert len(by_text.gallery) == 3
    assert (alike.asker.tolist(), alike.itself.tolist()) == ([0, 2], [0, 2])
    assert (len(alike.gallery), alike.candidates) == (3, 2)
    assert right_answers(by_image).tolist() == [2, 1]
    assert right_answers(alike).tolist() == [1, 1]


def test_a_direction_in_which_nothing_can_be_right_is_none():
    assert task("image_to_image", captioned(), captioned()) is None
    alone = captioned((-1, -1, -1, -1), label=np.array([0, 1, 2]))
    assert [task(d, alone, alone) for d in ("image_to_text", "text_to_image", "image_to_image")] == [None] * 3
    with pytest.raises(ValueError, match="direction 'text_to_text' is unknown; there are image_to_text, text_to_image"):
        task("text_to_text", captioned(), captioned())


def test_queries_of_one_model_search_the_library_of_another():
    other = Captioned(AXES[1:], AXES[::-1].copy(), np.array([0, 0, 1, 2]))
    mixed = task("image_to_text", captioned(), other)
    np.testing.assert_array_equal(mixed.query, AXES[:3])
    np.testing.assert_array_equal(mixed.gallery, AXES[::-1])


def test_sets_that_differ_are_refused_by_what_differs():
    one = captioned(photographs=np.arange(3, dtype=np.uint64))
    require_same_set(one, captioned())
    with pytest.raises(ValueError, match="image_of 1 is 0 here and 1 in the reference: the sets differ"):
        require_same_set(one, captioned((0, 1, 1, 2)))
    with pytest.raises(ValueError, match="photographs 2 is 2 here and 9 in the reference"):
        require_same_set(one, captioned(photographs=np.array([0, 1, 9], np.uint64)))
    with pytest.raises(ValueError, match="3 images here and 4 in the reference"):
        require_same_set(one, Captioned(AXES, AXES, np.array([0, 0, 1, 2])))
