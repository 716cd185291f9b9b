"""Spurious correlation: change of RSG and Vuln_add by method and precision, with stars."""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from reliquant.report import frames, plotting, tabling
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Reliance on spurious correlation"
QUESTION, PLACE = "robustness", 2
READ = """Bars are the mean change of the relative spurious gap (RSG) and Vuln_add, what the group without the
spurious cue lost beyond the group with it, in points, over models, scopes and seeds of a family; above zero the
quantized model leans more on the cue. Whiskers are 95 % intervals over test images, each on its own; stars: * p < .05,
** p < .01, *** p < .001, after Holm's correction for all bars of the figure."""
MEASURES = {"rsg_change": "change of RSG", "vuln_add": "Vuln_add"}


@plotting.styled
def figure(rows: Rows, made: pl.DataFrame | None = None, /, *, columns: Literal[1, 2] = 2) -> Figure:
    """Draw bars by family and precision; raise NothingToDraw without a spurious suite."""
    bars = prepared(rows) if made is None else made
    families, precisions = sorted(bars["family"].unique()), frames.ordered_precisions(bars)
    shown = [m for m in MEASURES if m in bars["measure"]]
    down, across = (1, len(shown)) if columns == 2 else (len(shown), 1)
    fig, axes = plotting.canvas(columns, 0.5 + 2.3 * down, down, across, sharey=True)
    width, shades = 0.84 / len(precisions), plotting.shades(precisions)
    for ax, measure in zip(axes.flat, shown, strict=True):
        plotting.zero(ax, y=True)
        for j, precision in enumerate(precisions):
            part = bars.filter(measure=measure, precision=precision)
            x = np.array([families.index(f) for f in part["family"]]) + (j - (len(precisions) - 1) / 2) * width
            fill = plotting.tint("#3d3d3d", 0.15 + 0.75 * shades[precision])
            ax.bar(x, part["value"] * 100, width * 0.9, color=fill, edgecolor="#3d3d3d", linewidth=0.5)
            ends = plotting.errors(part, factor=100)
            ax.errorbar(x, part["value"] * 100, yerr=ends, fmt="none", ecolor=plotting.INK, elinewidth=0.8)
            for at, cell in zip(x, part.select("value", "low", "high", "p").iter_rows(), strict=True):
                value, low, high, p = cell
                top = (value if low is None else high if value >= 0 else low) * 100
                place = {"xytext": (0, 2 if value >= 0 else -2), "textcoords": "offset points", "ha": "center"}
                vertical = {"va": "bottom" if value >= 0 else "top", "fontsize": 7}
                ax.annotate(frames.marked(p), (at, top), **place, **vertical)
        ax.set_title(MEASURES[measure])
        ax.set_xticks(
            range(len(families)), [plotting.label(f) for f in families], rotation=20 if len(families) > 4 else 0
        )
        ax.grid(visible=False, axis="x")
        ax.margins(y=0.12)
    axes[0, 0].set_ylabel("points")
    fills = [plotting.tint("#3d3d3d", 0.15 + 0.75 * shades[p]) for p in precisions]
    handles = [
        Patch(facecolor=c, edgecolor="#3d3d3d", label=plotting.label(p.upper()))
        for c, p in zip(fills, precisions, strict=True)
    ]
    fig.legend(handles=handles, loc="outside upper center", ncols=len(precisions))
    return fig


def prepared(rows: Rows, /) -> pl.DataFrame:
    """Return the mean changes that the bars show, with p-values; raise NothingToDraw without a spurious suite."""
    changes = frames.quantized(frames.select(rows, MEASURES, suite="spurious"))
    if changes.is_empty():
        raise NothingToDraw("the study asks no sets with a spurious cue (groups common and counter)")
    bars = frames.mean_of_runs(frames.mean_of_sets(changes), ["measure", "family", "precision"])
    return bars.with_columns(p=tabling.corrected(bars))
