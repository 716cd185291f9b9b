from dataclasses import replace

import polars as pl
import pytest

from reliquant.report.recommend import recommend
from reliquant.report.synthetic import Shape, Truth, rows

SMALL = Shape(models=(("vit", "wit"),), seeds=(0,), scopes=("image",), corruptions=(), iterations=(), ranks=())


def test_the_smallest_variant_within_the_accuracy_bound_comes_first():
    found = recommend(rows(SMALL), ["accuracy_delta < 0.05"])
    first = found.row(0, named=True)
    assert (first["scheme"], first["precision"]) == (
        "rot-lsq",
        "w4a8",
    )  # 3 % lost; the others at 4 bits lose 12 and 30 %
    assert first["confidence"] > 0.95


def test_a_variant_beaten_in_cost_and_measure_is_left_out():
    found = recommend(rows(SMALL, replace(Truth(), jitter=1e-6)), ["accuracy_delta < 0.5"])
    assert found.filter(scheme="rtn").is_empty()  # of each size another scheme is more accurate


def test_confidence_falls_where_intervals_reach_over_the_bound():
    exact = rows(SMALL, replace(Truth(), jitter=1e-6))
    beside = exact.with_columns(
        low=pl.when(pl.col("low").is_not_null()).then(pl.col("value") - 0.1),
        high=pl.when(pl.col("high").is_not_null()).then(pl.col("value") + 0.1),
    )
    sure, unsure = (recommend(f, ["accuracy_delta < 0.031"]).row(0, named=True)["confidence"] for f in (exact, beside))
    assert sure == 1.0
    assert 0.3 < unsure < 0.7


def test_no_variant_may_meet_a_wish():
    assert recommend(rows(SMALL), ["accuracy_change > 0.9"]).is_empty()


def test_a_wish_of_another_suite_names_it():
    assert recommend(rows(SMALL), ["ood:auroc_change >= 0"]).height >= 1


@pytest.mark.parametrize("text", ["ece ~ 0", "moon:ece < 0", "ece <"])
def test_a_wish_that_cannot_be_read_is_refused(text):
    with pytest.raises(ValueError, match="must read"):
        recommend(rows(SMALL), [text])


def test_an_absent_measure_is_named():
    with pytest.raises(ValueError, match="no rows of sharpness in the suite clean"):
        recommend(rows(SMALL), ["sharpness < 1"])
