"""Shift of confidence and logit margin by method and precision."""

from __future__ import annotations

from typing import Literal

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from reliquant.report import frames, plotting
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Shift of confidence and margin"
QUESTION, PLACE = "why", 7
READ = """Change to FP32 on the same images, mean over models, sets and seeds of a source: of confidence in points,
and of the logit margin (the true class against the best other one) in logits. A smaller margin with unchanged
accuracy is noise that has not yet reached the decision. Whiskers are 95 % intervals over images."""
MEASURES = {"confidence_change": ("confidence (points)", 100), "margin_change": ("logit margin (logits)", 1)}


@plotting.styled
def figure(rows: Rows, /, *, columns: Literal[1, 2] = 2) -> Figure:
    """Draw bars by scheme and precision, coloured by source; raise NothingToDraw without margins."""
    changes = frames.quantized(frames.select(rows, MEASURES, suite="explain"))
    if changes.is_empty():
        raise NothingToDraw("no variant's margins were compared with FP32's (config key explain)")
    keys = ["family", "scheme", "precision"]
    bars = frames.mean_of_runs(frames.mean_of_sets(changes), ["measure", "source", *keys])
    order = {p: i for i, p in enumerate(frames.ordered_precisions(bars))}
    lines = sorted(bars.select(keys).unique().rows(), key=lambda k: (k[:2], order[k[2]]))
    looks, sources = plotting.looks(rows), sorted(bars["source"].unique())
    shown = [m for m in MEASURES if m in bars["measure"]]
    down, across = (1, len(shown)) if columns == 2 else (len(shown), 1)
    fig, axes = plotting.canvas(columns, 0.8 + down * (0.3 + 0.24 * len(lines)), down, across, sharey=True)
    thick = 0.8 / len(sources)
    for ax, measure in zip(axes.flat, shown, strict=True):
        name, factor = MEASURES[measure]
        plotting.zero(ax, x=True)
        for j, source in enumerate(sources):
            part = bars.filter(measure=measure, source=source)
            y = np.array([lines.index(k) for k in part.select(keys).iter_rows()]) + (j - (len(sources) - 1) / 2) * thick
            style = {"color": looks[source].colour, "hatch": looks[source].hatch, "edgecolor": "white", "linewidth": 0}
            ax.barh(y, part["value"] * factor, thick * 0.9, **style)
            ends = plotting.errors(part, factor=factor)
            ax.errorbar(part["value"] * factor, y, xerr=ends, fmt="none", ecolor=plotting.INK, elinewidth=0.8)
        ax.set_xlabel(f"change of {name}")
        ax.set_yticks(range(len(lines)), [plotting.label(f"{s}  {p.upper()}") for _, s, p in lines])
        ax.set_ylim(len(lines) - 0.4, -0.6)
        ax.grid(visible=False, axis="y")
    swatches = [
        Patch(facecolor=looks[s].colour, hatch=looks[s].hatch, edgecolor="white", label=plotting.label(s or "all"))
        for s in sources
    ]
    fig.legend(handles=swatches, loc="outside upper center", ncols=len(sources))
    return fig
