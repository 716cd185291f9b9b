"""Controls: would any noise, or mere truncation, do what quantization does?"""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from reliquant.report import frames, plotting
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Quantization against noise of the same size"
QUESTION, PLACE = "why", 5
READ = """The first line is quantization itself; each other line puts something in its place: noise of the same SQNR
on the FP32 features (white Gaussian, white uniform, with the same SQNR at every rank, or another image's quantization
error), Gaussian noise in the FP32 weights at each layer's own SQNR, or FP32 features truncated to their leading
ranks. If a control does the same as quantization, its effect needs no other explanation. Change to FP32 in points,
mean over models, methods and sets; whiskers are 95 % intervals over images (the ECE, as published, has none)."""
MEASURES = {"accuracy_change": "accuracy", "ece_change": "ECE", "confidence_gap_change": "confidence gap"}


@plotting.styled
def figure(rows: Rows, /, *, columns: Literal[1, 2] = 2) -> Figure:
    """Draw bars by control and precision, one panel per measure; raise NothingToDraw without controls."""
    changes = frames.quantized(frames.select(rows, MEASURES, suite="explain"))
    if changes.filter(pl.col("group") != "").is_empty():
        raise NothingToDraw("no controls were run in place of quantization (config key explain)")
    bars = frames.mean_of_runs(frames.mean_of_sets(changes, "group"), ["measure", "precision", "group"])
    lines, precisions = sorted(bars["group"].unique()), frames.ordered_precisions(bars)  # "", quantization, is first
    shown = [m for m in MEASURES if m in bars["measure"]]
    down, across = (1, len(shown)) if columns == 2 else (len(shown), 1)
    height = 0.7 + down * (0.3 + (0.14 if columns == 2 else 0.1) * len(lines) * max(2, len(precisions)))
    fig, axes = plotting.canvas(columns, height, down, across, sharey=True)
    thick, shades = 0.84 / len(precisions), plotting.shades(precisions)
    fills = {p: plotting.tint("#3d3d3d", 0.15 + 0.75 * shades[p]) for p in precisions}
    for ax, measure in zip(axes.flat, shown, strict=True):
        plotting.zero(ax, x=True)
        for j, precision in enumerate(precisions):
            part = bars.filter(measure=measure, precision=precision)
            y = np.array([lines.index(g) for g in part["group"]]) + (j - (len(precisions) - 1) / 2) * thick
            ax.barh(y, part["value"] * 100, thick * 0.9, color=fills[precision], edgecolor="#3d3d3d", linewidth=0.5)
            ends = plotting.errors(part, factor=100)
            ax.errorbar(part["value"] * 100, y, xerr=ends, fmt="none", ecolor="#b04a00", elinewidth=0.8)
        ax.set_title(MEASURES[measure])
        ax.axhline(0.5, color=plotting.INK, linewidth=0.5, linestyle=(0, (2, 2)))
        ax.set_yticks(range(len(lines)), [plotting.label(g or "quantized") for g in lines])
        ax.set_ylim(len(lines) - 0.45, -0.55)
        ax.grid(visible=False, axis="y")
        ax.margins(x=0.08)
    fig.supxlabel("change (points)", fontsize=8)
    handles = [Patch(facecolor=fills[p], edgecolor="#3d3d3d", label=plotting.label(p.upper())) for p in precisions]
    fig.legend(handles=handles, loc="outside upper center", ncols=len(precisions))
    return fig
