import numpy as np
import polars as pl
import pytest
from matplotlib.colors import to_hex

from reliquant.report.figures.pareto import PANELS, RINGS, figure
from reliquant.report.plotting import NothingToDraw
from reliquant.report.synthetic import Shape, Truth, rows

SHAPE = Shape(models=(("vit", "wit"),), seeds=(0,), scopes=("image",), corruptions=(), ranks=(), iterations=())


@pytest.fixture(scope="module")
def frame():
    return rows(SHAPE, Truth(jitter=0.005))


def rings(ax):
    """Count the rings of each kind in a panel, surest first."""
    hollow = [c for c in ax.collections if not len(c.get_facecolor())]
    looks = [(ring["linewidth"], to_hex(ring["edgecolor"])) for ring in RINGS.values()]
    drawn = {(float(c.get_linewidth()[0]), to_hex(c.get_edgecolor()[0])): len(c.get_offsets()) for c in hollow}
    return [drawn.get(look, 0) for look in looks]


def test_calibration_is_the_root_of_the_squared_error(frame):
    fig = figure(frame)
    ax = next(ax for ax in fig.axes if ax.get_title(loc="left").startswith("calibration"))
    fp32 = frame.filter(scheme="fp32", measure="squared_ce", suite="clean", scale="native")["value"].mean()
    drawn = np.concatenate([c.get_offsets()[:, 1] for c in ax.collections])
    assert np.abs(drawn - 100 * fp32**0.5).min() < 1e-6
    assert "ece" not in {measure for _, measure, *_ in PANELS.values()}


def test_exact_values_have_sure_rings_and_doubtful_ones_have_not():
    sure = figure(rows(SHAPE, Truth(jitter=1e-6))).axes[0]
    doubtful = figure(rows(SHAPE, Truth(jitter=0.05))).axes[0]
    assert rings(sure)[0] >= 2
    assert rings(sure)[1:] == [0, 0]
    assert rings(doubtful)[0] < rings(sure)[0]
    assert sum(rings(doubtful)[1:]) >= 2


def test_without_intervals_there_are_no_rings_and_none_in_the_legend(frame):
    bare = frame.with_columns(pl.lit(None, frame.schema[end]).alias(end) for end in ("low", "high", "replicates"))
    fig = figure(bare)
    assert {tuple(rings(ax)) for ax in fig.axes} == {(0, 0, 0)}
    assert "front as measured" in (words := [t.get_text() for t in fig.legends[0].get_texts()])
    assert not any("%" in word for word in words)


def test_latency_lies_along_the_axis_where_it_is_asked_for_and_is_named_where_it_lacks(frame):
    with pytest.raises(NothingToDraw, match="no variant says the cost, latency_batch_1_ms of the image tower"):
        figure(frame, cost="latency")
    times = frame.filter(measure="bytes", suite="").with_columns(
        suite=pl.lit("deploy"), group=pl.lit("image"), measure=pl.lit("latency_batch_1_ms"), value=pl.lit(7.5)
    )
    fig = figure(pl.concat([frame, times.cast(dict(frame.schema))]), cost="latency")
    assert fig.get_supxlabel() == "ms an image at batch 1 (log scale)"
    drawn = np.concatenate([c.get_offsets()[:, 0] for c in fig.axes[0].collections])
    assert set(drawn.tolist()) == {7.5}
    assert figure(frame).get_supxlabel().startswith("bytes on disk")


def test_sizes_that_lie_close_together_have_ticks_at_round_numbers(frame):
    close = frame.with_columns(  # from 30 to 40 % of FP32's bytes, between two powers of 2
        value=pl.when(measure="bytes", scheme="fp32")
        .then(pl.col("value") * 0.4)
        .when(measure="bytes")
        .then(0.3 * frame.filter(measure="bytes_fp32")["value"].max())
        .otherwise("value")
    )
    ax = figure(close).axes[0]
    low, high = ax.get_xlim()
    ticks = [tick for tick in ax.get_xticks() if low <= tick <= high]
    assert len(ticks) >= 3
    assert all(tick == round(tick) for tick in ticks)
