"""Figure 2: mean change of accuracy by method and source, one panel per precision."""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from reliquant.report import frames, plotting
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Change of accuracy by method and source"
QUESTION, PLACE = "accuracy", 1
READ = """Bars are the mean change of top-1 accuracy to the FP32 model, over in-distribution sets, models, scopes and
seeds; left of zero is worse. Colour is the source of the pre-training data. Whiskers are 95 % intervals over test
images; the short ticks are the single variants."""
Means = tuple[pl.DataFrame, pl.DataFrame]


@plotting.styled
def figure(rows: Rows, made: Means | None = None, /, *, columns: Literal[1, 2] = 2) -> Figure:
    """Draw bars of change of accuracy; raise NothingToDraw without quantized variants."""
    runs, bars = prepared(rows) if made is None else made
    precisions, schemes = frames.ordered_precisions(bars), frames.ordered_schemes(bars)
    looks, sources = plotting.looks(rows), sorted(bars["source"].unique())
    across = min(len(precisions), 3 if columns == 2 else 1)
    down = -(-len(precisions) // across)
    height = 0.8 + down * (0.35 + len(schemes) * (0.1 + 0.13 * len(sources)))
    fig, axes = plotting.canvas(columns, height, down, across, sharey=True)
    thick = 0.8 / len(sources)
    place = {scheme: i for i, (_, scheme) in enumerate(schemes)}
    for ax, precision in zip(axes.flat, precisions, strict=False):
        plotting.zero(ax, x=True)
        for j, source in enumerate(sources):
            part, dots = (f.filter(precision=precision, source=source) for f in (bars, runs))
            shift = (j - (len(sources) - 1) / 2) * thick
            y = np.array([place[s] for s in part["scheme"]]) + shift
            style = {"color": looks[source].colour, "hatch": looks[source].hatch, "edgecolor": "white", "linewidth": 0}
            ax.barh(y, part["value"] * 100, thick * 0.9, zorder=2, **style)
            ends = plotting.errors(part, factor=100)
            ax.errorbar(part["value"] * 100, y, xerr=ends, fmt="none", ecolor=plotting.INK, elinewidth=0.9, zorder=4)
            at = np.array([place[s] for s in dots["scheme"]]) + shift
            ticks = {"marker": "|", "s": 14, "linewidth": 0.6, "color": "#777777", "zorder": 3}
            ax.scatter(dots["value"] * 100, at, rasterized=dots.height > plotting.BIG, **ticks)
        ax.set_title(plotting.label(precision.upper()))
        ax.grid(visible=False, axis="y")
        ax.set_yticks(range(len(schemes)), [plotting.label(s) for _, s in schemes])
    for ax in axes[:, 0]:
        ax.set_ylim(len(schemes) - 0.4, -0.6)
    plotting.hide_rest(axes, len(precisions))
    fig.supxlabel("change of accuracy (points)", fontsize=8)
    swatches = [
        Patch(facecolor=looks[s].colour, hatch=looks[s].hatch, edgecolor="white", label=plotting.label(s))
        for s in sources
    ]
    fig.legend(handles=swatches, loc="outside upper center", ncols=len(sources))
    return fig


def prepared(rows: Rows, /) -> Means:
    """Return the mean changes of variants, and of methods over them; raise NothingToDraw without quantized variants."""
    changes = frames.quantized(frames.select(rows, "accuracy_change"))
    if changes.is_empty():
        raise NothingToDraw("no quantized variant has a change of accuracy on a clean set")
    runs = frames.mean_of_sets(changes)
    return runs, frames.mean_of_runs(runs, ["precision", "family", "scheme", "source"])
