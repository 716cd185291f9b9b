import polars as pl
import pytest

from reliquant import plugins
from reliquant.report import frames
from reliquant.report.caution import caution
from reliquant.report.page import figure
from reliquant.report.page import table as piece
from reliquant.report.synthetic import Shape, rows


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


def test_every_piece_that_rests_on_such_a_variant_says_so_and_no_other(full):
    schemes = frames.quantized(full)["scheme"].unique().sort().to_list()
    short = of_blocks(full, 0.4, scheme=schemes[0])
    told = "Rests on variants with few of their blocks' weights quantized"
    for make, family in ((figure, "figure"), (piece, "table")):
        for name in plugins.names(family):
            found, plain = make(short, name), make(full, name)
            assert told not in plain.read
            rests = found.rows is not None and schemes[0] in found.rows["scheme"].to_list()
            if found.absent or (family == "table" and not rests):
                assert told not in found.read
                continue
            if family == "table":
                assert f"{schemes[0]} " in found.read
                assert told in found.files[".md"].decode()
                assert told in found.files[".tex"].decode()
    assert told in figure(short, "accuracy_by_bits").read
    assert told not in piece(short, "fp32").read


def test_a_caution_names_three_variants_and_counts_the_rest(full):
    short = of_blocks(full, 0.4)
    recorded = frames.Recorded(short)
    frames.select(recorded, ["accuracy"])
    told = caution(recorded)
    assert told.count("(40%)") == 3
    of = frames.quantized(full).select(frames.VARIANT).unique()
    assert f"and {of.height - 3} more." in told
    assert caution(frames.Recorded(short)) == ""  # which has read nothing
