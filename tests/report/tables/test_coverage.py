import polars as pl
import pytest

from reliquant.report import frames
from reliquant.report.synthetic import Shape, rows
from reliquant.report.tables.coverage import table, where


@pytest.fixture(scope="module")
def full():
    return rows(Shape(seeds=(0,), clean=("shapes",), corruptions=("fog",)))


def of_blocks(full, share, least=0.8, **which):
    """The rows of what variants say of their blocks: the share, low for some, and what was meant."""
    of = full.filter(pl.col("measure") == "quantized_weight_share", pl.col("scheme") != "fp32")
    low = pl.lit(True)
    for column, value in which.items():
        low &= pl.col(column) == value
    shares = of.with_columns(measure=pl.lit("quantized_block_share"), value=pl.when(low).then(share).otherwise(0.99))
    meant = shares.with_columns(measure=pl.lit("least_block_share"), value=pl.lit(least))
    return pl.concat([full, shares, meant])


def test_each_model_scheme_and_scope_has_a_line_with_its_shares(full):
    frame = table(full)
    assert frame.columns == ["source", "model", "scheme", "scope", "weights", "multiply-accumulates"]
    assert set(frame["weights"]) == {"98.0"}
    asked = full.filter(pl.col("scheme") != "fp32").select("model", "scheme", "scope").unique()
    assert frame.height == asked.height
    assert not frame["multiply-accumulates"].str.contains("!").any()


def test_shares_that_differ_between_precisions_are_a_range(full):
    precision = frames.quantized(full)["precision"][0]
    lower = pl.when((pl.col("measure") == "quantized_mac_share") & (pl.col("precision") == precision)).then(0.5)
    frame = table(full.with_columns(value=lower.otherwise("value")))
    assert set(frame["multiply-accumulates"]) == {"50.0 to 98.0"}


def test_a_share_below_what_the_scheme_means_is_marked(full):
    one = frames.quantized(full).row(0, named=True)
    short = of_blocks(full, 0.4, model=one["model"], scheme=one["scheme"])
    frame = table(short)
    marked = frame.filter(pl.col("weights in the blocks").str.contains("!"))
    assert marked.select("model", "scheme").unique().rows() == [(one["model"], one["scheme"])]
    assert set(marked["weights in the blocks"]) == {"40.0 !"}


def test_the_rows_behind_a_cell_are_those_of_its_line(full):
    line = table(full).row(0, named=True)
    of = where("weights", line)
    assert full.filter(**of)["value"].unique().to_list() == [0.98]
    assert where("model", line) is None
