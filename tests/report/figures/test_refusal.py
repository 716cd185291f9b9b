import polars as pl
import pytest

from reliquant.report.figures.refusal import figure
from reliquant.report.plotting import NothingToDraw
from reliquant.report.synthetic import Shape, Truth, rows

SHAPE = Shape(models=(("vit", "wit"),), seeds=(0,), scopes=("image",), corruptions=(), ranks=(), iterations=())


@pytest.fixture(scope="module")
def frame():
    return rows(SHAPE, Truth(jitter=1e-6))


def drawn(ax):
    """Return the changes of each mark, most bits first."""
    lines = {line.get_marker(): zip(*line.get_data(), strict=True) for line in ax.lines if len(line.get_xdata()) == 3}
    return {mark: [float(y) for _, y in sorted(points)] for mark, points in lines.items()}


def panel(fig, title):
    return next(ax for ax in fig.axes if ax.get_title(loc="left").startswith(title))


def test_changes_stand_by_precision_and_family_in_points(frame):
    fig = figure(frame)
    losses = {"o": [0.4, -0.6, -30], "s": [0.2, -0.4, -3], "^": [-0.4, -1.2, -12]}  # of QAT, Rot+LSQ and PTQ, in %
    for title, factor in (("AUGRC, clean", -1 / 4), ("AUGRC, shifted", -1 / 4), ("AUROC, full", 1 / 10)):
        for mark, values in drawn(panel(fig, title)).items():
            assert values == pytest.approx([factor * v for v in losses[mark]], abs=0.01), title


def test_both_kinds_of_auroc_are_of_the_same_sets(frame):
    other = (pl.col("dataset") == "digits") & pl.col("measure").str.starts_with("full_spectrum")
    far = (pl.col("dataset") == "digits") & (pl.col("measure") == "auroc_change")
    some = frame.filter(~other).with_columns(value=pl.when(far).then(0.5).otherwise("value"))
    values = drawn(panel(figure(some), "AUROC, clean"))["o"]
    assert values == pytest.approx([1.2] * 3, abs=0.01)  # of new shapes alone


def test_panels_of_a_measure_share_a_scale(frame):
    axes = figure(frame).axes
    assert axes[0].get_ylim() == axes[1].get_ylim() != axes[2].get_ylim() == axes[3].get_ylim()


def test_what_the_study_lacks_has_no_panel(frame):
    fig = figure(frame.filter(suite="clean"))
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["AUGRC, clean ↓\nn = 20,000"]
    new = pl.col("measure").str.contains("augrc|full_spectrum")
    with pytest.raises(NothingToDraw, match="AUGRC"):
        figure(frame.filter(~new))
