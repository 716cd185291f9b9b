import polars as pl
import pytest

from reliquant.report.figures.sensitivity import averaged, figure
from reliquant.report.synthetic import Shape, rows

SHAPE = Shape(seeds=(0, 1), clean=("shapes",), corruptions=())


@pytest.fixture(scope="module")
def found():
    return rows(SHAPE).filter(pl.col("measure").str.starts_with("alone_"))


def test_the_marks_of_a_panel_are_the_layers_means_in_the_order_of_the_model(found):
    drawn = figure(found)
    models = sorted(found.select("source", "model").unique().rows())
    ax = drawn.axes[1]  # accuracy of the first model
    source, model = models[0]
    part = found.filter(model=model, source=source, measure="alone_accuracy_change", precision="w4a8")
    first = part.filter(pl.col("group").str.contains("blocks.0.attn.qkv"))["value"].mean()
    lines = [line for line in ax.lines if len(line.get_xdata()) == 12]
    firsts = [line.get_ydata()[0] for line in lines]
    assert any(value == pytest.approx(100 * first) for value in firsts)
    assert len(lines) == part.select("precision").n_unique() * found["precision"].n_unique()
    for line in lines:
        size = abs(line.get_ydata())
        assert list(size) == sorted(size, reverse=True)  # the truth falls with depth


def test_an_end_that_is_unknown_in_one_run_is_unknown_in_the_mean(found):
    some = found.filter(measure="alone_auroc_change").with_row_index()
    broken = some.with_columns(low=pl.when(pl.col("index") == 0).then(None).otherwise("low"))
    means = averaged(broken)
    assert means["low"].null_count() == 1
    assert means["high"].null_count() == 0
