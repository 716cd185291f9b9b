"""Figure 5: relative change of ECE by method, violins split by source, crosses where accuracy is kept."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from reliquant.report import frames, plotting
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Relative change of calibration error"
QUESTION, PLACE = "calibration", 1
READ = """Each violin is the distribution of the relative change of ECE over runs (a variant on one in-distribution
set); below zero is better calibrated than FP32. Its halves or neighbours are the sources of the pre-training data; a
line is the median. Crosses are runs that lost less than 2 % of the FP32 accuracy (at most 150 a violin are drawn).
The scale is linear up to 100 % and logarithmic beyond. A violin needs five runs; fewer are drawn as crosses and dots
only."""
LEAST, CROSSES = 5, 150


@plotting.styled
def figure(rows: Rows, /, *, columns: Literal[1, 2] = 2) -> Figure:
    """Draw split violins of relative ECE change; raise NothingToDraw when no run has one."""
    changes = frames.quantized(frames.select(rows, ["ece_relative_change", "accuracy_delta"]))
    runs = frames.wide(changes, "dataset") if changes.height else changes
    if "ece_relative_change" not in runs.columns:
        raise NothingToDraw("no quantized variant has a relative change of ECE on a clean set")
    runs = runs.drop_nulls("ece_relative_change").with_columns(
        kept=pl.col("accuracy_delta") < 0.02 if "accuracy_delta" in runs.columns else pl.lit(False)
    )
    looks, sources, schemes = plotting.looks(rows), sorted(runs["source"].unique()), frames.ordered_schemes(runs)
    fig, axes = plotting.canvas(columns, 3.1)
    ax = axes[0, 0]
    plotting.zero(ax, y=True)
    sides = {2: ["low", "high"]}.get(len(sources), ["both"] * len(sources))
    step = 0.0 if len(sources) < 3 else 0.8 / len(sources)
    for i, (_, scheme) in enumerate(schemes):
        for j, source in enumerate(sources):
            part = runs.filter(scheme=scheme, source=source)
            at = i + (j - (len(sources) - 1) / 2) * step
            _violin(ax, at, part, sides[j], looks[source], 0.8 if step == 0 else step * 0.9)
    ax.set_yscale("symlog", linthresh=1.0, linscale=1.5)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:+.0f} %" if v else "0"))
    lowest, highest = (float(e) for e in (runs["ece_relative_change"].min(), runs["ece_relative_change"].max()))
    ax.set_yticks([t for t in (-1, -0.5, 0, 0.5, 1, 3, 10, 30, 100) if lowest - 0.6 <= t <= 1.5 * highest + 0.6])
    ax.minorticks_off()
    ax.set_xticks(
        range(len(schemes)), [plotting.label(s) for _, s in schemes], rotation=30 if len(schemes) > 3 * columns else 0
    )
    ax.set_ylabel("relative change of ECE")
    ax.grid(visible=False, axis="x")
    handles = [
        Patch(facecolor=looks[s].colour, hatch=looks[s].hatch, edgecolor="white", label=plotting.label(s))
        for s in sources
    ]
    cross = Line2D([], [], linestyle="", marker="x", color=plotting.INK, markersize=4, label="accuracy loss under 2 %")
    fig.legend(handles=[*handles, cross], loc="outside upper center", ncols=len(sources) + 1 if columns == 2 else 2)
    return fig


def _violin(ax: Axes, at: float, part: pl.DataFrame, side: str, look: plotting.Look, width: float) -> None:
    values = part["ece_relative_change"].to_numpy()
    sign = {"low": -1, "high": 1, "both": 0}[side]
    if len(values) >= LEAST and np.ptp(values) > 0:
        drawn: Any = ax.violinplot(values, [at], widths=width, side=side, showextrema=False, points=80)
        for body in drawn["bodies"]:
            body.set(facecolor=look.colour, edgecolor="white", hatch=look.hatch, alpha=0.75, linewidth=0.3)
        middle = float(np.median(values))
        ends = sorted((at, at + sign * width / 2)) if sign else (at - width / 2, at + width / 2)
        ax.hlines(middle, *ends, color=plotting.INK, linewidth=1.0, zorder=4)
    else:
        ax.scatter(np.full(len(values), at + sign * width / 6), values, s=12, color=look.colour, zorder=3)
    kept = np.sort(part.filter("kept")["ece_relative_change"].to_numpy())
    kept = kept[np.linspace(0, len(kept) - 1, min(len(kept), CROSSES)).astype(int)] if len(kept) else kept
    spread = (np.arange(len(kept)) * 0.618 % 1 - 0.5) * width * 0.3  # golden ratio: even, and the same every time
    ax.scatter(at + sign * width / 5 + spread, kept, s=9, marker="x", color=plotting.INK, linewidth=0.6, zorder=5)
