import os

import polars as pl
import pytest

from reliquant.files.artifacts import ROW_SCHEMA, DamagedFile
from reliquant.files.stored_frames import damage_named, errors_named, read_rows, require_once, scan_rows
from reliquant.report.synthetic import Shape, rows

SMALL = Shape(models=(("vit", "wit"),), seeds=(0,), clean=("shapes",), corruptions=(), ranks=(), iterations=())


@pytest.fixture
def path(tmp_path):
    rows(SMALL).write_parquet(tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


def test_dictionaries_and_other_whole_numbers_hold_the_same_rows(path):
    right = read_rows(path)
    right.with_columns(pl.col(pl.String).cast(pl.Categorical), pl.col("seed", "n").cast(pl.Int32)).write_parquet(path)
    assert read_rows(path).equals(right)
    assert scan_rows(path).collect().equals(right)
    right.with_columns(pl.col("n").cast(pl.Float64)).write_parquet(path)  # as pandas writes whole numbers with gaps
    assert read_rows(path).equals(right)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"value": pl.col("value").cast(pl.Float32)}, "'value' is Float32, not Float64"),
        ({"seed": pl.col("seed") + 0.5}, "'seed' is Float64, not Int64"),
        ({"model": pl.lit(None, pl.String)}, "model is null in"),
        ({"low": pl.lit(None, pl.Float64)}, "low or high is null in"),
    ],
)
def test_what_is_not_the_same_is_refused_by_name(path, change, told):
    read_rows(path).with_columns(**change).write_parquet(path)
    for read in (read_rows, scan_rows):
        with pytest.raises(DamagedFile, match=rf"rows\.parquet: {told}"):
            read(path)


def test_rows_that_come_twice_are_refused(path):
    frame = read_rows(path)
    with pytest.raises(DamagedFile, match="hold the same variant, set and measure"):
        require_once(pl.concat([frame, frame[:1]]), path)


def test_unknown_columns_are_left_out_and_said(path, capsys):
    frame = read_rows(path)
    frame.with_columns(new=1).write_parquet(path)
    assert read_rows(path).columns == ROW_SCHEMA.names()
    assert "left out: new" in capsys.readouterr().err


def test_a_folder_and_a_missing_file_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match="is a folder"):
        read_rows(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such"):
        scan_rows(tmp_path / "gone")


def fail(path, error, said):
    with damage_named(path):
        os.write(2, said)
        raise error


def test_a_panic_of_polars_is_a_damaged_file_and_prints_no_trace(tmp_path, capfd):
    panic = type("PanicException", (BaseException,), {})("at the disco")
    with pytest.raises(DamagedFile, match="x: damaged parquet"):
        fail(tmp_path / "x", panic, b"thread panicked")
    with pytest.raises(KeyError):
        fail(tmp_path / "x", KeyError("a"), b"kept")
    assert capfd.readouterr().err == "kept"


def test_a_file_is_named_once(tmp_path):
    for text in ("wrong", f"{tmp_path}: wrong"):
        with pytest.raises(ValueError, match=f"^{tmp_path}: wrong$"), errors_named(tmp_path):
            raise ValueError(text)
