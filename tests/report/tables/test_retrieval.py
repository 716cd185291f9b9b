import re

import polars as pl
import pytest

from reliquant.report.synthetic import Shape, rows
from reliquant.report.tables.retrieval import table, where

SHAPE = Shape(models=(("vit", "wit"),), schemes=(("rtn", "Simple PTQ"),), seeds=(0,), corruptions=(), scopes=("image",))


@pytest.fixture(scope="module")
def found():
    return rows(SHAPE)


def test_each_cell_is_what_the_rows_behind_it_say(found):
    shown = table(found)
    assert shown["direction"].unique(maintain_order=True).to_list() == [
        "image to text",
        "text to image",
        "image to image",
    ]
    assert shown.height == 3 * 4
    checked = 0
    for line in shown.iter_rows(named=True):
        for column, text in line.items():
            behind = where(column, line)
            if behind is None:
                continue
            values = found.filter(pl.col("score") == "", **behind)["value"]
            if not text:
                assert values.is_empty()
                continue
            factor = 1 if column == "median rank" else 100
            assert float(re.match(r"[-+]?[\d.]+", text)[0]) == pytest.approx(factor * values.item(), abs=0.051)
            checked += 1
    assert checked == 2 * (4 * 6 + 3) + 4 * 4 + 3  # between images and captions, images by class; same: not of FP32


def test_changes_have_stars_and_fp32_s_own_values_have_none(found):
    shown = table(found).filter(direction="text to image")
    exact, *_, fewest = shown["at 1"].to_list()
    assert exact == "40.0"
    assert re.fullmatch(r"-\d\.\d \[-\d\.\d, -\d\.\d\]\*+", fewest)
