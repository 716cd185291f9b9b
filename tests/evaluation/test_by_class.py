"""Logits and probabilities that are computed where they are asked for equal those of the whole matrix."""

import numpy as np
import pytest
from scipy.special import softmax

from reliquant.evaluation import by_class
from reliquant.evaluation.by_class import ByClass, Probabilities
from reliquant.evaluation.features import Features
from reliquant.evaluation.measure import measure_features

RNG = np.random.default_rng(0)
IMAGE, TEXT = (RNG.normal(size=(n, 8)).astype(np.float32) for n in (50, 13))


class Read:
    """Rows that count how often they are read."""

    def __init__(self, rows=IMAGE):
        self.rows, self.shape, self.read = rows, rows.shape, 0

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, rows):
        self.read += len(self.rows[rows])
        return self.rows[rows]


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


def test_all_measures_over_several_blocks_of_classes_are_those_of_a_table_in_memory(monkeypatch):
    rng = np.random.default_rng(1)
    n, c, d = 1500, 60, 256
    text, label = rng.normal(size=(c, d)), rng.integers(0, c, n)
    image = text[label] + rng.choice([0.5, 1.5, 3.0, 5.0], (n, 1)) * rng.normal(size=(n, d))  # many sure answers
    image, text = ((x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in (image, text))
    monkeypatch.setattr(by_class, "ROWS", 4096)  # products of other shapes round in other ways
    monkeypatch.setattr(by_class, "HELD", 4 * n * 7)  # seven columns, less than the sixteen that are asked for at once
    held, read = Features(image, text, label, 100.0), Features(Read(image), text, label, 100.0)
    one, other = (measure_features(f, {}, {}, resamples=50)["features"] for f in (held, read))
    assert one.keys() == other.keys() >= {"classwise_ece", "ace", "best_temperature", "ece", "nll", "accuracy"}
    for name, found in one.items():
        for key in ("value", "low", "high"):
            wanted = found[key] if found[key] is None else pytest.approx(found[key], rel=1e-4, abs=1e-6)
            assert other[name][key] == wanted, (name, key)
