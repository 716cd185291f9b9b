import polars as pl
import pytest

from reliquant.report.compare import compare
from reliquant.report.synthetic import Shape, rows

SMALL = Shape(models=(("vit", "wit"),), seeds=(0,), scopes=("image",), corruptions=(), iterations=(), ranks=())


def test_the_same_rows_have_no_difference():
    frame = rows(SMALL)
    found = compare(frame, frame)
    assert found.height == frame.height
    assert found["difference"].abs().max() == 0
    assert not found["significant"].any()


def test_a_shifted_measure_is_found_and_nothing_else():
    frame = rows(SMALL)
    moved = (pl.col("measure") == "ece") & (pl.col("scheme") == "rtn")
    other = frame.with_columns(
        pl.when(moved).then(pl.col(c) + 0.05).otherwise(c).alias(c) for c in ("value", "low", "high")
    )
    found = compare(frame, other).filter("significant")
    assert set(found["measure"]) == {"ece"}
    assert set(found["scheme"]) == {"rtn"}
    assert found["difference"].to_list() == pytest.approx([0.05] * found.height)


def test_p_is_that_of_two_independent_normals():
    frame = (
        rows(SMALL)
        .filter(measure="ece", scheme="fp32", dataset="shapes")
        .with_columns(value=pl.lit(0.10), low=pl.lit(0.07), high=pl.lit(0.13))
    )
    other = frame.with_columns(value=pl.lit(0.15), low=pl.lit(0.11), high=pl.lit(0.19))
    row = compare(frame, other).row(0, named=True)
    assert (row["low"], row["high"]) == pytest.approx((0.0, 0.1))  # 0.05 -+ sqrt(0.03^2 + 0.04^2)
    assert row["p"] == pytest.approx(0.05, abs=1e-9)


def test_rows_of_one_side_only_are_kept_and_marked():
    frame = rows(SMALL)
    found = compare(frame.filter(pl.col("scheme") != "rtn"), frame)
    assert set(found.filter(scheme="rtn")["where"]) == {"b"}
    assert set(found.filter(pl.col("scheme") != "rtn")["where"]) == {"both"}


def test_values_without_intervals_that_differ_are_neither_significant_nor_not():
    frame = rows(SMALL).filter(measure="bytes")
    found = compare(frame, frame.with_columns(pl.col("value") * 2))
    assert found["significant"].null_count() == found.height


def test_repeated_rows_are_refused():
    frame = rows(SMALL)
    with pytest.raises(ValueError, match="rows b hold the same variant"):
        compare(frame, pl.concat([frame, frame.head(1)]))
