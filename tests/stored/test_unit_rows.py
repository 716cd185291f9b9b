"""Embeddings at unit length, read when they are asked for."""

from pathlib import Path

import numpy as np
import pytest

from reliquant.stored import unit_rows
from reliquant.stored.column import column_of
from reliquant.stored.unit_rows import UnitRows

ROWS = np.random.default_rng(0).normal(size=(50, 3)) * np.array([[1e-3], [300]] * 25)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(unit_rows, "BLOCK", 20)  # of six rows


def read(rows):
    return UnitRows(Path("x.npz"), "image", column_of(np.asarray(rows)))


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_rows_are_those_that_are_stored_at_unit_length(kind):
    stored = ROWS.astype(kind)
    found, wide = read(stored), stored.astype(np.float64)
    expected = wide / np.sqrt(np.einsum("ij,ij->i", wide, wide))[:, None]
    for rows in (slice(None), slice(5, 20), np.array([40, 2, 2])):
        assert found[rows].dtype == np.float32
        assert np.allclose(found[rows], expected[rows], rtol=1e-6, atol=0)
    assert np.array_equal(np.asarray(found), found[:])


def test_the_first_row_that_cannot_be_meant_is_named_wherever_it_lies():
    bad = ROWS.copy()
    bad[41, 1] = np.nan
    with pytest.raises(ValueError, match=r"x\.npz: image holds NaN or infinite values, first in row 41"):
        read(bad)
    bad[41] = 0
    with pytest.raises(ValueError, match=r"x\.npz: row 41 of image holds zeros only; it has no direction"):
        read(bad)
    bad[41] = 1e200
    with pytest.raises(ValueError, match=r"x\.npz: row 41 of image holds numbers too large for its length"):
        read(bad)
    with pytest.raises(ValueError, match="image must have two axes"):
        read(ROWS[:, 0])
    with pytest.raises(ValueError, match="image must hold floating point numbers, not int64"):
        read(np.ones((2, 2), np.int64))
