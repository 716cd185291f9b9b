import polars as pl
import pytest
from matplotlib.colors import to_hex

from reliquant.report.figures.prompts import GREY, LIMIT, figure
from reliquant.report.plotting import NothingToDraw
from reliquant.report.synthetic import Shape, Truth, rows
from reliquant.report.synthetic_trust import TEMPLATES

SHAPE = Shape(models=(("vit", "wit"),), seeds=(0,), scopes=("image",), corruptions=(), ranks=(), iterations=())


def found(loss, half=0.0, **more):
    """Return rows in which one scheme loses a share of its accuracy, 0.7, at eight bits, with an interval."""
    shape = Shape(**{**vars(SHAPE), "schemes": (("rtn", "Simple PTQ"),), "precisions": ("w8a8",), **more})
    truth = Truth(jitter=1e-6, accuracy={("Simple PTQ", 8): loss})
    ends = {
        end: pl.when(measure="accuracy_change").then(pl.col("value") + s * half)
        for end, s in (("low", -1), ("high", 1))
    }
    frame = rows(shape, truth)
    return frame.with_columns(*(changed.otherwise(end).alias(end) for end, changed in ends.items()), replicates=None)


def mark(ax):
    """Return where the mark of the change stands, and whether it is full."""
    (line,) = [line for line in ax.lines if line.get_marker() == "o"]
    return float(line.get_xdata()[0]), to_hex(line.get_markerfacecolor()) == GREY


def test_the_band_is_the_spread_of_fp32_and_the_mark_the_change():
    ax = figure(found(loss=-0.02)).axes[0]
    limit, band = sorted((patch.get_x(), patch.get_x() + patch.get_width()) for patch in ax.patches)
    assert band == pytest.approx((-100 * TEMPLATES, 100 * TEMPLATES), abs=0.01)
    assert to_hex(ax.patches[0].get_facecolor()) == LIMIT
    assert limit[0] <= band[0]
    assert mark(ax)[0] == pytest.approx(-1.4, abs=0.01)


@pytest.mark.parametrize(
    ("loss", "half", "full"), [(-0.02, 0.003, True), (-0.02, 0.005, False), (-0.01, 0.001, False), (0.02, 0.003, True)]
)
def test_a_mark_is_full_where_its_whole_interval_lies_beyond_the_spread(loss, half, full):
    assert mark(figure(found(loss, half)).axes[0])[1] is full


def test_full_marks_are_corrected_for_the_number_of_marks():
    schemes = tuple((f"s{i}", "Simple PTQ") for i in range(6))

    def full(half, **more):
        lines = figure(found(-0.02, half, **more)).axes[0].lines
        return sum(to_hex(line.get_markerfacecolor()) == GREY for line in lines if line.get_marker() == "o")

    assert (full(0.0035), full(0.0035, schemes=schemes), full(0.001, schemes=schemes)) == (1, 0, 6)


def test_triangles_are_the_changes_of_the_best_and_the_worst_template():
    frame = found(loss=-0.02)
    lower = (pl.col("measure") == "accuracy_worst_template") & (pl.col("scheme") != "fp32")
    frame = frame.with_columns(value=pl.when(lower).then(pl.col("value") - 0.01).otherwise("value"))
    drawn = {line.get_marker(): float(line.get_xdata()[0]) for line in figure(frame).axes[0].lines}
    assert drawn["^"] == pytest.approx(-1.4, abs=0.01)
    assert drawn["v"] == pytest.approx(-2.4, abs=0.01)


def test_only_sets_with_several_templates_count():
    frame = found(loss=-0.02, half=0.001)
    one = pl.col("measure").str.contains("template") & (pl.col("dataset") != "shapes")
    fallen = (pl.col("measure") == "accuracy_change") & (pl.col("dataset") != "shapes")
    frame = frame.filter(~one).with_columns(value=pl.when(fallen).then(-0.5).otherwise("value"))
    ax = figure(frame).axes[0]
    assert mark(ax)[0] == pytest.approx(-1.4, abs=0.01)
    assert ax.get_title(loc="left") == "wit\nn = 20,000"
    with pytest.raises(NothingToDraw, match="templates_alone"):
        figure(frame.filter(pl.col("measure") != "template_spread"))


def test_a_variant_without_a_finite_change_has_no_line():
    frame = found(loss=-0.02, schemes=(("rtn", "Simple PTQ"), ("lsq", "QAT (Contr.)")))
    without = (pl.col("measure") == "accuracy_change") & (pl.col("scheme") == "lsq")
    ax = figure(frame.with_columns(value=pl.when(~without).then("value"))).axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["rtn  W8A8"]


def test_a_collapse_does_not_hide_small_changes():
    small, large = (figure(found(loss=loss)).axes[0].get_xscale() for loss in (-0.02, -0.5))
    assert (small, large) == ("linear", "symlog")
