from itertools import pairwise

import polars as pl
import pytest

from reliquant.cli.recommend_text import recommended_text
from reliquant.report.recommend import judged, wish
from reliquant.report.synthetic import Shape, rows

SMALL = Shape(models=(("vit", "wit"),), seeds=(0,), scopes=("image",), corruptions=(), iterations=(), ranks=())
WISHES = ["accuracy_delta < 0.05", "squared_ce_change <= 0.01"]


@pytest.fixture(scope="module")
def variants():
    return judged(rows(SMALL), WISHES)


def text(variants, wishes=WISHES, **words):
    return recommended_text(variants, [wish(one) for one in wishes], "bytes", **words)


def test_each_answer_is_one_line_within_a_hundred_columns(variants):
    found = variants.filter(why_not="")
    head, *lines = text(variants).splitlines()
    assert head.split()[0] == "variant"
    assert all(one in head for one in WISHES)
    for line, row in zip(lines, found.iter_rows(named=True), strict=False):
        assert line.startswith(f"{row['scheme']} {row['precision']} ")
        assert len(line) <= 100
        assert line.split()[-1] == f"{row['confidence']:.2f}"


def test_the_others_are_counted_by_why_and_the_nearest_is_named(variants):
    told = text(variants)
    others = variants.filter(pl.col("why_not") != "")
    assert f"not recommended: {others.height}" in told
    failed = others.filter(pl.col(WISHES[0]) > 0.05)
    nearest = failed.sort(WISHES[0]).row(0, named=True)
    name = f"{nearest['scheme']} {nearest['precision']}"
    assert f"{failed.height} without {WISHES[0]}; the nearest is {name}, {nearest[WISHES[0]]:.4g}" in told


def test_each_other_variant_says_why_where_that_is_asked_for(variants):
    told = text(variants, each=True)
    for row in variants.filter(pl.col("why_not") != "").iter_rows(named=True):
        assert f"  {row['scheme']} {row['precision']}: {row['why_not']}" in told


def test_no_answer_is_said_in_words():
    variants = judged(rows(SMALL), ["accuracy_change > 0.9"])
    told = text(variants, ["accuracy_change > 0.9"])
    assert told.startswith("no variant meets the wish\n")
    assert f"{variants.height} without accuracy_change > 0.9; the nearest is " in told


def test_no_line_is_wider_than_a_hundred_columns_in_a_pipe(variants):
    for each in (False, True):
        assert max(map(len, text(variants, each=each, notes=["Compared on: " + "a set, " * 40]).splitlines())) <= 100


def test_a_narrow_window_is_never_overrun(variants, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    for each in (False, True):
        lines = text(variants, each=each, notes=["a note of many words " * 9]).splitlines()
        assert max(map(len, lines)) <= 50
    assert any("accuracy_delta < 0.05" in " ".join(pair) for pair in pairwise(lines))
