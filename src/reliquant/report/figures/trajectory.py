"""Trajectory reliability diagram: FP32's confidence bins followed to quantized and to logit-scale tuned models."""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reliquant.report import frames, plotting
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Where confidence went"
QUESTION, PLACE = "calibration", 3
READ = """Images are put into bins by the confidence of the FP32 model, and the same images are followed: the ring is
where the bin stands in FP32, the full mark where quantization takes it, the square where re-fitting the logit scale
brings it. Horizontal moves are changes of confidence, vertical ones of accuracy; the dashed diagonal is perfect
calibration. Over models, methods, sets and seeds of a source."""


@plotting.styled
def figure(rows: Rows, /, *, columns: Literal[1, 2] = 2) -> Figure:
    """Draw one panel per source and precision; raise NothingToDraw without binned rows of FP32 and a variant."""
    bins = frames.binned(rows, "trajectory")
    quantized = bins.filter(bins["precision"] != "fp32")
    start = bins.filter(precision="fp32", scale="native").select("source", "bin", x="confidence", y="accuracy")
    if quantized.is_empty() or start.is_empty():
        raise NothingToDraw("no confidence bins of FP32 were followed (config key explain)")
    paths = quantized.join(start, on=["source", "bin"], how="inner")
    sources, precisions = sorted(paths["source"].unique()), frames.ordered_precisions(paths)
    looks = plotting.looks(rows)
    flat = len(precisions) < len(sources)  # sources across, so that panels stay small
    across, down = (len(sources), len(precisions)) if flat else (len(precisions), len(sources))
    side = (plotting.WIDTHS[columns] - 0.5) / across
    fig, axes = plotting.canvas(columns, 0.75 + side * down, down, across, sharex=True, sharey=True)
    for (row, column), ax in np.ndenumerate(axes):
        i, j = (column, row) if flat else (row, column)
        ax.plot([0, 100], [0, 100], color="#999999", linewidth=0.8, linestyle=(0, (3, 2)), zorder=1)
        _paths(ax, paths.filter(source=sources[i], precision=precisions[j]), looks[sources[i]].colour)
        ax.set(xlim=(0, 100), ylim=(0, 100), aspect="equal")
        named = [plotting.label(sources[i] or "all models"), plotting.label(precisions[j].upper())]
        if row == 0:
            ax.set_title(named[0 if flat else 1])
        if column == 0:
            ax.set_ylabel(named[1 if flat else 0])
    fig.supxlabel("mean confidence (%)", fontsize=8)
    fig.supylabel("accuracy (%)", fontsize=8)
    entries = [("FP32", {"marker": "o", "color": plotting.INK, "markerfacecolor": "white"})]
    entries += [("quantized", {"marker": "o", "color": "#444444"})]
    if "tuned" in paths["scale"]:
        entries += [("logit scale tuned", {"marker": "s", "color": "#444444", "markerfacecolor": "#cccccc"})]
    plotting.key(fig, entries, loc="outside upper center", ncols=3)
    return fig


def _paths(ax: Axes, part: pl.DataFrame, colour: str) -> None:
    """Draw where each bin went: from FP32 (x, y) to the quantized and on to the tuned confidence and accuracy."""
    native, tuned = (part.filter(scale=s).sort("bin") for s in ("native", "tuned"))
    ring = {"facecolor": "white", "edgecolor": plotting.INK, "linewidth": 0.8, "zorder": 3}
    ax.scatter(native["x"] * 100, native["y"] * 100, s=20, marker="o", **ring)
    for x, y, confidence, accuracy in native.select("x", "y", "confidence", "accuracy").iter_rows():
        line = {"arrowstyle": "-", "color": colour, "linewidth": 0.9, "shrinkA": 2, "shrinkB": 0}
        ax.annotate("", (100 * confidence, 100 * accuracy), (100 * x, 100 * y), arrowprops=line, zorder=2)
    ax.scatter(native["confidence"] * 100, native["accuracy"] * 100, s=14, color=colour, marker="o", zorder=4)
    ends = tuned.select("bin", tuned_confidence="confidence", tuned_accuracy="accuracy")
    both = native.join(ends, on="bin", how="inner")
    dotted = {"color": colour, "linewidth": 0.6, "linestyle": (0, (1, 1)), "zorder": 2}
    for step in both.iter_rows(named=True):
        x, y = ([100 * step[name], 100 * step[f"tuned_{name}"]] for name in ("confidence", "accuracy"))
        ax.plot(x, y, **dotted)
    style = {"facecolor": plotting.tint(colour, 0.35), "edgecolor": colour, "linewidth": 0.7, "zorder": 4}
    ax.scatter(both["tuned_confidence"] * 100, both["tuned_accuracy"] * 100, s=13, marker="s", **style)
