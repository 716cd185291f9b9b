import polars as pl
import pytest

from reliquant.report.figures.mixed_index import KINDS, figure
from reliquant.report.plotting import NothingToDraw
from reliquant.report.synthetic import Shape, rows

SHAPE = Shape(
    models=(("vit", "wit"),), schemes=(("rtn", "Simple PTQ"),), seeds=(0,), corruptions=(), retrieval=("fresh",)
)


@pytest.fixture(scope="module")
def found():
    return rows(SHAPE)


def test_each_mark_is_the_change_of_its_direction_scope_precision_and_kind(found):
    drawn = figure(found)
    panels = [(group, scope) for group in ("text_to_image", "image_to_text") for scope in ("image", "both")]
    for ax, (group, scope) in zip(drawn.axes, panels, strict=True):
        marks = [line for line in ax.lines if line.get_linestyle() == "None" and len(line.get_xdata()) == 3]
        assert len(marks) == len(KINDS)
        for line, measure in zip(marks, KINDS, strict=True):
            own = found.filter(suite="retrieval", score="", group=group, scope=scope, measure=measure)
            by_precision = dict(own.select("precision", "value").rows())
            for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True):
                assert y == pytest.approx(100 * by_precision[("w8a8", "w6a8", "w4a8")[round(x)]])


def test_without_mixed_indexes_nothing_is_drawn_and_that_is_said(found):
    with pytest.raises(NothingToDraw, match="no quantized variant searched a library of FP32"):
        figure(found.filter(~pl.col("measure").str.contains("fp32_")))
