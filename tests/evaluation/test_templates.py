import numpy as np
import pytest

from reliquant.evaluation.templates import CHUNK, right_by_template, spread_over


@pytest.mark.parametrize(
    ("n", "k", "places"), [(1, 8, [0]), (2, 1, [0]), (5, 2, [0, 4]), (5, 3, [0, 2, 4]), (8, 8, list(range(8)))]
)
def test_templates_are_spread_over_the_list(n, k, places):
    assert spread_over(n, k) == places


def test_no_template_is_chosen_twice():
    for n in range(1, 90):
        for k in range(9):
            chosen = spread_over(n, k)
            assert len(set(chosen)) == len(chosen) == min(n, k)


def test_each_template_has_a_column_of_what_it_tells_right():
    image, label = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]], np.array([0, 1, 2, 1])
    heads = {"a {}": np.eye(3, dtype=np.float32), "no {}": np.eye(3, dtype=np.float32)[[1, 0, 2]]}
    first, second = right_by_template(image, label, heads)
    assert (first.name, first.to_list()) == ("template:a {}", [True, True, True, False])
    assert (second.name, second.to_list()) == ("template:no {}", [False, False, True, True])


def test_many_images_are_taken_in_pieces():
    rng = np.random.default_rng(0)
    image, text = (rng.normal(size=(n, 4)).astype(np.float32) for n in (CHUNK + 10, 5))
    label = rng.integers(0, 5, len(image))
    (found,) = right_by_template(image, label, {"{}": text})
    assert found.to_list() == ((image @ text.T).argmax(axis=1) == label).tolist()
