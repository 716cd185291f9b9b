import polars as pl
import pytest

from reliquant.report.figures.accuracy_by_stored_bits import figure, prepared
from reliquant.report.plotting import NothingToDraw
from reliquant.report.synthetic import Shape, rows

SHAPE = Shape(seeds=(0,), clean=("shapes",), corruptions=())


@pytest.fixture(scope="module")
def found():
    return rows(SHAPE)


def test_a_mark_stands_at_its_variants_stored_bits_and_mean_accuracy(found):
    drawn = figure(found)
    sources = sorted(found["source"].unique())
    schemes = sorted(found.filter(pl.col("scheme") != "fp32")["scheme"].unique())
    ax, own = drawn.axes[0], found.filter(source=sources[0], scheme=schemes[0])
    line = next(line for line in ax.lines if len(line.get_xdata()) == own["precision"].n_unique())
    bits = own.filter(measure="stored_bits").group_by("precision").agg(pl.col("value").mean())
    accuracy = own.filter(measure="accuracy", suite="clean", scale="native")
    accuracy = accuracy.filter(pl.col("iteration").is_null()).group_by("precision").agg(pl.col("value").mean() * 100)
    points = bits.join(accuracy, on="precision").sort("value")
    assert list(line.get_xdata()) == pytest.approx(points["value"].to_list())
    assert list(line.get_ydata()) == pytest.approx(points["value_right"].to_list())


def test_a_scheme_that_stores_fewer_bits_at_a_precision_stands_further_left(found):
    one = sorted(found.filter(pl.col("scheme") != "fp32")["scheme"].unique())[0]
    less = pl.when((pl.col("measure") == "stored_bits") & (pl.col("scheme") == one)).then(pl.col("value") - 1)
    lines, _ = prepared(found.with_columns(value=less.otherwise("value")))
    mean = dict(lines.group_by(pl.col("scheme") == one).agg(pl.col("bits").mean()).iter_rows())
    assert mean[True] == pytest.approx(mean[False] - 1)


def test_rows_from_before_stored_bits_draw_nothing_and_say_so(found):
    with pytest.raises(NothingToDraw, match="stored bits"):
        figure(found.filter(pl.col("measure") != "stored_bits"))
