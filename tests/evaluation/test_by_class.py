"""Logits and probabilities that are computed where they are asked for equal those of the whole matrix."""

import numpy as np
import pytest
from scipy.special import softmax

from reliquant.evaluation import by_class
from reliquant.evaluation.by_class import ByClass, Probabilities

RNG = np.random.default_rng(0)
IMAGE, TEXT = (RNG.normal(size=(n, 8)).astype(np.float32) for n in (50, 13))


class Read:
    """Rows that count how often they are read."""

    def __init__(self):
        self.shape, self.read = IMAGE.shape, 0

    def __len__(self):
        return len(IMAGE)

    def __getitem__(self, rows):
        self.read += len(IMAGE[rows])
        return IMAGE[rows]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(by_class, "ROWS", 16)
    monkeypatch.setattr(by_class, "HELD", 4 * 50 * 5)  # five columns


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_rows_and_columns_are_those_of_the_whole(kind):
    logits = ByClass(Read(), TEXT, 3.0, -1.0)
    found, whole = logits, 3 * (IMAGE.astype(float) @ TEXT.T.astype(float)) - 1
    if kind == "probabilities":
        found, whole = Probabilities(logits), softmax(whole, axis=1)
    assert found.shape == (50, 13)
    assert np.allclose(found[7:30], whole[7:30], rtol=1e-4, atol=1e-6)
    assert np.allclose(np.asarray(found), whole, rtol=1e-4, atol=1e-6)
    for first in (0, 3, 6, 9, 2):
        assert np.allclose(found[:, first : first + 4], whole[:, first : first + 4], rtol=1e-4, atol=1e-6)
    assert found[:, 12:20].shape == (50, 1)
    assert found[:, :].shape == (50, 13)


def test_images_are_read_once_for_as_many_classes_as_are_held():
    images = Read()
    found = ByClass(images, TEXT, 1.0, 0.0)
    for first in range(5):
        found[:, first : first + 1]
    assert images.read == 50
    found[:, 5:6]
    assert images.read == 100
