import dataclasses

import numpy as np
import pytest

from reliquant.measures import nearest, search
from reliquant.measures.pair_products import similarities
from reliquant.measures.retrieval import DIRECTIONS, Captioned, Task, task, unit_rows
from reliquant.measures.search import searched


def captioned(rng, kind):
    """Draw a set with texts of no image and images without a text or class; similarities are often or all equal."""
    n, m, d = int(rng.integers(5, 60)), int(rng.integers(30, 200)), int(rng.integers(2, 9))
    if kind == "apart":
        image, text = rng.normal(size=(n, d)), rng.normal(size=(m, d))
    else:
        image, text = rng.integers(-2, 3, (n, d)) + 0.01, rng.integers(-2, 3, (m, d)) + 0.01
    if kind == "all equal":
        image[:], text[:] = image[0], text[0]
    return Captioned(unit_rows(image), unit_rows(text), rng.integers(-1, n, m), rng.integers(-1, 4, n))


def whole_matrix(asked):
    """Compute every similarity, and whether each item is a right answer: (q, g) both."""
    q, g = len(asked.query), len(asked.gallery)
    s = similarities(asked.query, asked.gallery, np.repeat(np.arange(q), g), np.tile(np.arange(g), q)).reshape(q, g)
    right = asked.gallery_key == asked.query_key[:, None]
    if asked.itself is not None:
        s[np.arange(q), asked.itself], right[np.arange(q), asked.itself] = -np.inf, False
    return s, right


@pytest.mark.parametrize("blocks", [(512, 2040), (7, 16)])
@pytest.mark.parametrize("kind", ["apart", "often equal", "all equal"])
def test_a_search_in_blocks_finds_what_the_whole_matrix_says(monkeypatch, blocks, kind):
    monkeypatch.setattr(search, "QUERIES", blocks[0])
    monkeypatch.setattr(search, "ITEMS", blocks[1])
    monkeypatch.setattr(nearest, "SPARE", 4)
    monkeypatch.setattr(nearest, "WAITING", 2)
    rng = np.random.default_rng(0)
    for _ in range(8):
        one = captioned(rng, kind)
        for direction in DIRECTIONS:
            asked = task(direction, one, one)
            found = searched(asked, k=12)
            s, right = whole_matrix(asked)
            k = min(12, asked.candidates)
            order = np.argsort(-s, axis=1, kind="stable")[:, :k]
            best, last = np.where(right, s, -np.inf).max(axis=1, keepdims=True), np.take_along_axis(s, order, 1)[:, -1:]
            inside = np.take_along_axis(s, order, 1) == last
            expected = {
                "top": order,
                "similarity": np.take_along_axis(s, order, 1),
                "right": np.take_along_axis(right, order, 1),
                "beyond": (s == last).sum(axis=1) - inside.sum(axis=1),
                "beyond_right": ((s == last) & right).sum(axis=1)
                - (inside & np.take_along_axis(right, order, 1)).sum(axis=1),
                "best": best[:, 0],
                "above": (s > best).sum(axis=1),
                "level": (s == best).sum(axis=1),
                "level_right": ((s == best) & right).sum(axis=1),
                "answers": right.sum(axis=1),
            }
            assert expected.keys() == {field.name for field in dataclasses.fields(found)}
            for name, value in expected.items():
                np.testing.assert_array_equal(getattr(found, name), value, err_msg=f"{direction} {name}")


def test_equal_rows_are_equally_near_wherever_they_stand_in_a_large_gallery():
    rng = np.random.default_rng(1)
    gallery = unit_rows(rng.normal(size=(5000, 96)))
    copies = np.array([3, 2039, 2040, 4079, 4998, 4999])  # the edges of blocks and of the last, narrow one
    gallery[copies] = gallery[0]
    key = np.full(5000, -1)
    key[0] = 0
    found = searched(Task(gallery[:1], gallery, np.array([0]), key, np.array([0])))
    assert (found.above[0], found.level[0], found.level_right[0]) == (0, 7, 1)
    assert found.top[0, :7].tolist() == [0, *copies]


def test_what_float32_cannot_tell_apart_is_ordered_by_float64():
    query = np.array([[0.6, 0.8]], np.float32)
    near = np.nextafter(np.float32(0.6), np.float32(1))  # 6e-8 nearer, less than a unit of the float32 product
    gallery = np.array([[0.6, 0.8], [near, 0.8], [0.6, 0.8]], np.float32)
    found = searched(Task(query, gallery, np.array([0]), np.array([0, -1, -1]), np.array([0])), k=3)
    assert found.top.tolist() == [[1, 0, 2]]
    assert (found.above[0], found.level[0]) == (1, 2)


def test_whole_numbers_are_counted_without_float64():
    rng = np.random.default_rng(2)
    codes = np.where(rng.normal(size=(3000, 24)) > 0, 1, -1).astype(np.float32)
    asked = Task(codes[:40], codes, np.arange(40), np.arange(3000), np.arange(40))
    exact, whole = searched(asked, k=10), searched(asked, k=10, whole=True)
    assert exact.beyond.max() > 0
    for field in dataclasses.fields(exact):
        np.testing.assert_array_equal(getattr(whole, field.name), getattr(exact, field.name), err_msg=field.name)


def test_a_search_that_cannot_be_asked_is_refused_by_name():
    axes = np.eye(3, dtype=np.float32)
    asked = Task(axes, axes, np.arange(3), np.arange(3), np.arange(3))
    with pytest.raises(ValueError, match="k is 0; from 1 to 2040 places can be asked for"):
        searched(asked, k=0)
    with pytest.raises(ValueError, match="query 1 has no right answer in the gallery"):
        searched(dataclasses.replace(asked, query_key=np.array([0, 9, 2])))
    with pytest.raises(ValueError, match="row 2 of the gallery holds a number that is not finite"):
        searched(dataclasses.replace(asked, gallery=np.where(np.arange(3)[:, None] == 2, np.nan, axes)))
    alone = Task(axes[:1], axes[:1], np.array([0]), np.array([0]), np.array([0]), itself=np.array([0]))
    with pytest.raises(ValueError, match="the gallery holds nothing but the query"):
        searched(alone)


def test_the_order_of_additions_does_not_depend_on_which_pairs_are_asked():
    rng = np.random.default_rng(3)
    rows = unit_rows(rng.normal(size=(50, 131)))
    both = similarities(rows, rows, np.repeat(np.arange(50), 50), np.tile(np.arange(50), 50))
    for number in rng.permutation(2500)[:200]:
        one = similarities(rows, rows, np.array([number // 50]), np.array([number % 50]))
        assert one[0] == both[number]
