"""Columns: shapes at once, rows when they are asked for, in one type."""

import numpy as np
import pytest

from reliquant.files.digests import DamagedFile
from reliquant.stored.column import column_of, mapped


@pytest.mark.parametrize("kind", ["<f2", "<f4", "<f8", "<i2", "<u8", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_of_a_mapped_file_are_those_of_the_array_that_was_written(tmp_path, kind, order):
    array = (10 * np.random.default_rng(0).normal(size=(7, 3))).astype(kind)
    (tmp_path / "x").write_bytes(b"head" + array.tobytes(order))
    column = mapped(tmp_path / "x", "x", (7, 3), np.dtype(kind), offset=4, order=order)
    as_float = array.dtype.kind == "f"
    assert column.dtype == (np.float32 if as_float else np.int64)
    assert column.shape == (7, 3)
    for rows in (slice(2, 5), np.array([6, 0, 0]), slice(None)):
        assert column[rows].dtype == column.dtype
        assert np.array_equal(column[rows], array[rows].astype(column.dtype))
        assert np.array_equal(column.exact(rows), array[rows])


def test_float64_is_exact_where_that_is_asked_for():
    column = column_of(np.array([1 / 3, 1e300]))
    assert column.exact(slice(None)).tolist() == [1 / 3, 1e300]
    assert column[:].tolist() == [np.float32(1 / 3), np.inf]


def test_rows_that_are_taken_are_read_from_their_places():
    column = column_of(np.arange(10) * 2).taken(np.array([9, 0, 4])).taken(np.array([2, 0]))
    assert len(column) == 2
    assert column[:].tolist() == [8, 18]
    assert column[1:].tolist() == [18]


def test_words_stay_words():
    column = column_of(np.array(["a", "bc"]))
    assert column.dtype == object
    assert column[1:].tolist() == ["bc"]


def test_a_file_that_became_shorter_is_told_by_name(tmp_path):
    (tmp_path / "x").write_bytes(bytes(40))
    column = mapped(tmp_path / "x", "image", (10,), np.dtype("<f4"), offset=0)
    (tmp_path / "x").write_bytes(bytes(20))
    with pytest.raises(DamagedFile, match="x: image cannot be read"):
        column[:]


def test_numbers_and_empty_columns_have_their_shape(tmp_path):
    assert column_of(np.float32(3))[:].tolist() == 3
    assert len(column_of(np.float32(3))) == 1
    (tmp_path / "x").write_bytes(b"")
    assert mapped(tmp_path / "x", "x", (0, 4), np.dtype("<f4"), offset=0)[:].shape == (0, 4)
