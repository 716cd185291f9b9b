"""Rows of two tables that are the same image."""

from pathlib import Path

import numpy as np
import pytest

from reliquant.stored.column import column_of
from reliquant.stored.match import matched
from reliquant.stored.read import Table


def table(name, **arrays):
    return Table(Path(name), {key: column_of(np.asarray(array)) for key, array in arrays.items()}, ())


def images(n, width=4):
    return np.random.default_rng(n).normal(size=(n, width)).astype(np.float32)


def refused(variant, reference):
    with pytest.raises(ValueError) as stop:
        matched(variant, reference)
    assert "q.npz" in str(stop.value)
    return str(stop.value)


def test_rows_are_matched_by_position_where_one_has_no_ids():
    variant, reference = table("q.npz", image=images(5)), table("f.npz", image=images(5, 8), id=list("abcde"))
    mine, theirs, said = matched(variant, reference)
    assert mine.tolist() == theirs.tolist() == [0, 1, 2, 3, 4]
    assert said == ("q.npz and f.npz: rows are matched by their position, as q.npz has no column of ids",)


def test_rows_are_matched_by_id_in_any_order():
    variant = table("q.npz", image=images(3), label=[2, 0, 1], id=["c", "a", "b"])
    reference = table("f.npz", image=images(3), label=[0, 1, 2], id=["a", "b", "c"])
    mine, theirs, said = matched(variant, reference)
    assert (mine.tolist(), theirs.tolist()) == ([1, 2, 0], [0, 1, 2])
    assert said == ("q.npz and f.npz: rows are matched by id",)
    assert variant.taken(mine).arrays["label"][:].tolist() == [0, 1, 2]


def test_whole_numbers_are_ids_as_their_words_are():
    variant, reference = (
        table("q.npz", label=[5, 6], id=np.array([2.0, 1.0])),
        table("f.npz", label=[6, 5], id=["1", "2"]),
    )
    assert matched(variant, reference)[0].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("mine", "theirs", "told"),
    [
        (["a", "a"], ["a", "b"], "q.npz: id 'a' is that of image 0 and of image 1"),
        (["a", "c"], ["a", "b"], "id 'b' of f.npz is not in q.npz: 1 such images; the two must hold the same"),
        (["a", "b", "c", "d"], ["a", "b"], "id 'c' of q.npz is not in f.npz: 2 such images"),
        (["a", ""], ["a", "b"], "q.npz: image 1 has no id"),
        ([0.5, 1], [0, 1], "q.npz: id must hold words or whole numbers, not float64"),
        (np.ones((2, 2)), [0, 1], "q.npz: id must be one for each image, not of shape (2, 2)"),
    ],
)
def test_ids_that_do_not_match_are_refused_naming_the_first(mine, theirs, told):
    assert told in refused(table("q.npz", id=mine), table("f.npz", id=theirs))


def test_other_row_counts_are_refused():
    told = "q.npz and f.npz: 4 images in one and 5 in the other; without an id in both they cannot be matched"
    assert refused(table("q.npz", image=images(4)), table("f.npz", image=images(5))) == told
    assert "q.npz: holds no images" in refused(table("q.npz", image=images(0)), table("f.npz", image=images(5)))
    told = "columns differ in their number of rows: 4 of image, 3 of label"
    assert told in refused(table("q.npz", image=images(4), label=[0, 1, 2]), table("f.npz", image=images(4)))


def test_other_labels_are_refused_with_their_number_and_the_first():
    variant, reference = table("q.npz", label=[0, 1, 2, 3]), table("f.npz", label=[0, 1, 3, 2])
    told = refused(variant, reference)
    assert "2 of 4 images have another label than in f.npz: image 2 has 2, there 3" in told


def test_keys_of_other_photographs_are_refused():
    keys = np.arange(4, dtype=np.uint64)
    told = refused(table("q.npz", photograph=keys), table("f.npz", photograph=keys[::-1].copy()))
    assert "4 of 4 images have another key of a photograph than in f.npz: image 0 has 0, there 3" in told


def test_other_numbers_of_classes_are_refused_and_other_widths_are_not():
    variant = table("q.npz", image=images(4), text=images(3))
    told = refused(variant, table("f.npz", image=images(4), text=images(2)))
    assert "q.npz: has 3 classes (text), and 2 (text) in f.npz; changes need the same classes" in told
    assert "3 classes (text), and 9 (logits)" in refused(variant, table("f.npz", logits=images(4, 9)))
    matched(variant, table("f.npz", image=images(4, 6), text=images(3, 6)))


def test_a_photograph_that_is_there_twice_is_told():
    both = [table(name, photograph=[1, 2, 2, 3]) for name in ("q.npz", "f.npz")]
    assert "f.npz: 1 photographs are there more than once; intervals take all images" in matched(*both)[2][1]


def test_an_embedding_that_is_there_twice_is_told():
    image = images(20)
    image[[15, 17]] = image[3]
    said = matched(table("q.npz", image=images(20)), table("f.npz", image=image, id=range(20)))[2]
    told = (
        "f.npz: image 15 has the embedding of image 3, and 2 images that of an earlier one: is one image there twice?"
    )
    assert said[-1].startswith(told)


def test_images_in_another_order_are_refused_and_with_ids_in_both_they_are_not_looked_at():
    image = images(40, 64)
    coarse = np.round(image * 4) / 4
    assert len(matched(table("q.npz", image=coarse), table("f.npz", image=image))[2]) == 1
    told = refused(table("q.npz", image=np.roll(coarse, -1, axis=0)), table("f.npz", image=image))
    assert told == (
        "q.npz: 40 of 40 images looked at are clearly other images than in the same row of f.npz (image 0 is image 1"
        " there): store both in one order, or the ids of images in both (column id), by which rows are matched"
    )
    with_ids = (table("q.npz", image=coarse[::-1].copy(), id=range(40)), table("f.npz", image=image, id=range(40)))
    assert len(matched(*with_ids)[2]) == 1
    assert len(matched(table("q.npz", image=images(40, 8)), table("f.npz", image=image))[2]) == 1


def test_classes_in_another_order_are_refused_with_ids_too():
    image, text = images(20, 64), images(8, 64)
    reference = table("f.npz", image=image, text=text, id=range(20))
    assert len(matched(table("q.npz", image=image, text=np.round(text * 2) / 2, id=range(20)), reference)[2]) == 1
    told = refused(table("q.npz", image=image, text=text[::-1].copy(), id=range(20)), reference)
    assert "q.npz: 8 of 8 classes looked at are clearly other classes than in the same row of f.npz (class 0 is" in told
    assert told.endswith("class 7 there): store text in the reference's order of classes, which is that of the labels")
