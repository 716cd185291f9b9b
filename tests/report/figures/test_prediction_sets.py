import polars as pl
import pytest
from matplotlib.colors import to_hex

from reliquant.report.figures.prediction_sets import GREY, figure
from reliquant.report.plotting import NothingToDraw
from reliquant.report.synthetic import Shape, Truth, rows

SHAPE = Shape(models=(("vit", "wit"),), seeds=(0,), scopes=("image",), corruptions=("fog",), ranks=(), iterations=())


@pytest.fixture(scope="module")
def frame():
    return rows(SHAPE, Truth(jitter=1e-6))


def marks(ax, mark):
    """Return (x, y) of the marks of one form."""
    lines = [line for line in ax.lines if line.get_marker() == mark]
    return {round(float(x)): round(float(y), 2) for line in lines for x, y in zip(*line.get_data(), strict=True)}


def test_circles_have_the_threshold_of_fp32_diamonds_their_own_and_the_dashes_what_was_asked(frame):
    ax = figure(frame).axes[0]  # clean, 95 %
    assert ax.lines[0].get_ydata()[0] == 95
    assert marks(ax, "s") == {0: 95}
    lost = {1: (-0.004 + 0.004 + 0.002) / 3, 2: (-0.012 - 0.006 - 0.004) / 3, 3: (-0.12 - 0.30 - 0.03) / 3}
    assert marks(ax, "o") == pytest.approx({x: 95 + 100 * loss / 2 for x, loss in lost.items()}, abs=0.01)
    assert marks(ax, "D") == {1: 95, 2: 95, 3: 95}


def test_each_variant_has_a_line_so_that_a_mean_hides_none(frame):
    ax = figure(frame).axes[0]
    drawn = sorted(float(y) for y in ax.collections[0].get_offsets()[:, 1])
    assert len(drawn) == 9  # three schemes at three precisions
    assert drawn[0] == pytest.approx(95 - 15, abs=0.01)  # QAT at four bits loses 30 % of its accuracy


def test_rows_are_the_levels_and_the_sizes_and_columns_the_suites_with_their_images(frame):
    axes = figure(frame).axes
    assert [ax.get_title(loc="left").split("\n") for ax in axes[:3]] == [
        ["clean", "n = 20,000"],
        ["shifted", "n = 20,000"],
        ["corrupted", "n = 20,000"],
    ]
    assert [axes[i].get_ylabel().split("\n")[-1] for i in (0, 3, 6)] == ["95 % asked", "90 % asked", "95 % above 90 %"]
    sizes = [float(y) for line in axes[6].lines for y in line.get_ydata()]
    assert (min(sizes), max(sizes)) == pytest.approx((2 - 0.15, 3), abs=0.01)


def test_what_the_study_lacks_has_no_panel(frame):
    few = frame.filter(~pl.col("suite").is_in(["noise", "shift"]), ~pl.col("measure").str.contains("_95_|_size_"))
    (ax,) = figure(few).axes
    assert ax.get_ylabel() == "coverage (%)\n90 % asked"
    with pytest.raises(NothingToDraw, match="counts of classes"):
        figure(frame.filter(~pl.col("measure").str.starts_with("conformal")))


def test_whiskers_are_bold_where_the_interval_is_made_of_replicates(frame):
    def widths(ax):
        grey = [c for c in ax.collections if hasattr(c, "get_segments") and to_hex(c.get_color()[0]) == GREY]
        return sorted({float(c.get_linewidth()[0]) for c in grey if len(c.get_segments())})

    panels = figure(frame).axes
    assert widths(panels[0]) == [0.5]  # of 95 % no row keeps replicates
    assert widths(panels[3]) == [0.5, 1.4]  # of 90 % with FP32's threshold they do
