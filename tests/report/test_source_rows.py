import io
import json

import polars as pl
import pytest

from reliquant.files.artifacts import ROW_SCHEMA
from reliquant.report import source_rows
from reliquant.report.synthetic import Shape, rows

SMALL = Shape(models=(("vit", "wit"),), seeds=(0,), clean=("shapes",), corruptions=(), ranks=(), iterations=())


def test_rows_read_twice_are_there_once_and_other_columns_are_left_out():
    frame = rows(SMALL)
    first, second = frame.head(5).with_columns(rank=pl.lit(1.0)), frame.slice(3, 5)
    whole = source_rows.gathered([first, second])
    assert whole.equals(frame.head(8).drop("replicates"))


def test_nothing_read_gives_no_rows_of_the_right_columns():
    shown = {name: kind for name, kind in ROW_SCHEMA.items() if name != "replicates"}
    assert dict(source_rows.gathered([]).schema) == shown


@pytest.mark.parametrize(
    ("height", "ending", "read"), [(50_000, "-rows.csv", pl.read_csv), (50_001, "-rows.parquet", pl.read_parquet)]
)
def test_a_file_is_csv_unless_there_are_many_rows(height, ending, read):
    frame = pl.DataFrame({"n": range(height)})
    end, content = source_rows.as_file(frame)
    assert (end, source_rows.ending(frame)) == (ending, ending)
    assert read(io.BytesIO(content)).equals(frame)


def test_json_leaves_out_columns_of_one_value_and_is_safe_in_a_page():
    frame = pl.DataFrame(
        {"suite": "clean", "measure": "ece", "dataset": ["a<b>", "c&d", "e"], "value": [1 / 3, float("nan"), 2.0]}
    )
    text = source_rows.as_json(frame)
    assert not set("<>&") & set(text)
    assert json.loads(text) == {
        "columns": ["measure", "dataset", "value"],
        "rows": [["ece", "a<b>", 0.333333], ["ece", "c&d", None], ["ece", "e", 2.0]],
    }


def test_too_many_rows_and_none_are_not_held_in_the_page():
    frame = pl.DataFrame({"measure": "ece", "value": [0.5] * (source_rows.EMBEDDED + 1)})
    assert source_rows.as_json(frame) == source_rows.as_json(frame.clear()) == ""
    assert source_rows.as_json(frame.head(1)) != ""
