"""Corruption heat map: change of accuracy by corruption and severity, one panel per precision."""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from reliquant.report import frames, plotting, tabling
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Change of accuracy under corruptions"
QUESTION, PLACE = "robustness", 1
READ = """Each cell is the mean change of top-1 accuracy to FP32 under the same corruption, in points, over models,
methods, scopes and seeds, severities 1 to 5 from left to right. Blue is better, red is worse than FP32; the number is
written where there is room."""


@plotting.styled
def figure(rows: Rows, /, *, columns: Literal[1, 2] = 2) -> Figure:
    """Draw corruptions against severities; raise NothingToDraw without a noise suite."""
    changes = frames.quantized(frames.cells(rows, "accuracy_change", suite="noise")).filter(
        pl.col("corruption") != "mean"
    )
    if changes.is_empty():
        raise NothingToDraw("the study asks no corruptions")
    means = changes.group_by("precision", "corruption", "severity").agg(pl.col("value").mean() * 100)
    precisions, severities = frames.ordered_precisions(means), sorted(means["severity"].unique())
    corruptions = sorted(means["corruption"].unique())
    reach = max(float(means["value"].abs().max()), 1e-6)
    across = len(precisions) if columns == 2 else 1
    down = -(-len(precisions) // across)
    fig, axes = plotting.canvas(columns, 0.8 + down * (0.3 + 0.19 * len(corruptions)), down, across, sharey=True)
    for ax, precision in zip(axes.flat, precisions, strict=True):
        grid = np.full((len(corruptions), len(severities)), np.nan)
        for c, s, v in means.filter(precision=precision).select("corruption", "severity", "value").iter_rows():
            grid[corruptions.index(c), severities.index(s)] = v
        norm = TwoSlopeNorm(0, -reach, reach)
        picture = ax.pcolormesh(grid, cmap="RdBu", norm=norm, edgecolors="white", linewidth=0.5)
        for (i, j), v in np.ndenumerate(grid):
            if np.isfinite(v):
                dark = abs(v) > 0.6 * reach
                word = {"ha": "center", "va": "center", "fontsize": 5.5, "color": "white" if dark else plotting.INK}
                ax.text(
                    j + 0.5, i + 0.5, tabling.number(v, factor=1, digits=0 if reach >= 10 else 1, sign=True), **word
                )
        ax.set_title(plotting.label(precision.upper()))
        ax.set_xticks(np.arange(len(severities)) + 0.5, severities)
        ax.set_yticks(np.arange(len(corruptions)) + 0.5, [plotting.label(c.replace("_", " ")) for c in corruptions])
        ax.grid(visible=False)
        ax.tick_params(length=0)
    for ax in axes[:, 0]:
        ax.set_ylim(len(corruptions), 0)
    for ax in axes[-1]:
        ax.set_xlabel("severity")
    fig.colorbar(picture, ax=axes, shrink=0.8, pad=0.02, label="change (points)")
    return fig
