"""Columns that are unpacked once."""

import numpy as np
import pytest

from reliquant.files.digests import DamagedFile
from reliquant.stored import spilled

ROWS = np.arange(40.0).reshape(10, 4)


@pytest.mark.parametrize("in_memory", [2**28, 0])
def test_blocks_are_unpacked_once_and_read_by_parts(monkeypatch, in_memory):
    monkeypatch.setattr(spilled, "IN_MEMORY", in_memory)
    unpacked = []

    def blocks():
        unpacked.append(1)
        yield ROWS[:3]
        yield ROWS[3:].astype(np.float32)

    column = spilled.spilled("x: image", (10, 4), np.dtype(np.float64), "float64", blocks)
    assert unpacked == []
    for rows in (slice(2, 5), np.array([9, 0]), slice(None)):
        assert np.array_equal(column.exact(rows), ROWS[rows])
    assert unpacked == [1]


@pytest.mark.parametrize("in_memory", [2**28, 0])
def test_rows_that_are_missing_are_told(monkeypatch, in_memory):
    monkeypatch.setattr(spilled, "IN_MEMORY", in_memory)
    column = spilled.spilled("x: image", (11, 4), np.dtype(np.float64), "float64", lambda: iter([ROWS]))
    with pytest.raises(DamagedFile, match=r"x: image: has .* declared"):
        column[:]
