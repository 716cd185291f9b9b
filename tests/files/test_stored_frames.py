import os

import polars as pl
import pytest

from reliquant.files.artifacts import KEPT, REPLICATES, ROW_SCHEMA, DamagedFile
from reliquant.files.bounded import TooMuch
from reliquant.files.stored_frames import damage_named, errors_named, read_parquet, read_rows, require_once, scan_rows
from reliquant.report.collect import collected
from reliquant.report.synthetic import Shape, rows

SMALL = Shape(models=(("vit", "wit"),), seeds=(0,), clean=("shapes",), corruptions=(), ranks=(), iterations=())


@pytest.fixture
def path(tmp_path):
    rows(SMALL).write_parquet(tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


def test_dictionaries_and_other_whole_numbers_hold_the_same_rows(path):
    right = read_rows(path)
    assert read_rows(str(path)).equals(right)  # as docs/api.md calls it
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


def many_times(path, times, kept=("*",), **columns):
    """Repeat rows with other columns so often as lets a small file ask for much memory; stream them to the file."""
    some = pl.concat([read_rows(path).head(1).with_columns(**columns).select(*kept)] * 1000)
    some.write_parquet(path.with_name("some.parquet"))
    pl.concat([pl.scan_parquet(path.with_name("some.parquet"))] * times).sink_parquet(
        path, compression="zstd", row_group_size=2**20
    )


def zeros(path):
    many_times(path, 300, replicates=pl.lit([0.0] * KEPT, dtype=REPLICATES))


def many_rows(path):
    many_times(path, 1200, kept=("model", "value"))


def long_texts(path):
    many_times(path, 1, study=pl.lit("a" * 300_000))


def long_nulls(path):
    """Only the schema says that an entry that is null takes 4 MB."""
    nulls = pl.Series("replicates", [None] * 100, dtype=pl.Array(pl.Float32, 1_000_000))
    pl.concat([read_rows(path).head(1).drop("replicates")] * 100).with_columns(nulls).write_parquet(path)


BOMBS = {
    zeros: r"3\d\d,\d\d\d,\d\d\d bytes of rows in memory; at most 268,435,456 are read",
    many_rows: r"1,200,000 rows; at most 1,\d\d\d,\d\d\d are read",
    long_texts: r"3\d\d,\d\d\d,\d\d\d bytes of rows in memory; at most 268,435,456 are read",
    long_nulls: r"400,000,000 bytes of rows in memory; at most 268,435,456 are read",
}


@pytest.mark.parametrize("make", BOMBS, ids=lambda make: make.__name__)
def test_a_small_file_that_asks_for_much_memory_is_refused_before_it_is_unpacked(path, make, at_most):
    make(path)
    assert path.stat().st_size < 1_500_000
    for read in (read_rows, scan_rows, read_parquet, lambda path: collected([path])):
        with at_most(5), pytest.raises(TooMuch, match=rf"rows\.parquet: {BOMBS[make]}"):
            read(path)


def test_rows_of_a_large_study_pass_however_well_they_pack(path):
    many_times(path, 100, replicates=pl.lit([0.5] * KEPT, dtype=REPLICATES))
    assert scan_rows(path).select(pl.len()).collect().item() == 100_000
    assert read_parquet(path).height == 100_000
