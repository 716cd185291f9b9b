"""Signal to quantization noise in image features by rank of the FP32 spectrum."""

from __future__ import annotations

from typing import Literal

import polars as pl
from matplotlib.figure import Figure

from reliquant.report import frames, plotting
from reliquant.report.common_sets import common
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Signal to quantization noise by rank"
QUESTION, PLACE = "why", 1
READ = """Image features are written in the principal directions of the FP32 model's features, strongest first; each
line is the ratio of signal to quantization noise (SQNR, in dB) along one direction, mean over models, sets and seeds of
a source. A line that falls says that quantization drowns weak directions first; below 0 dB noise is louder than signal.
Marks are families of methods, panels precisions."""


@plotting.styled
def figure(rows: Rows, /, *, columns: Literal[1, 2] = 2) -> Figure:
    """Draw SQNR against rank; raise NothingToDraw without rows of `explain`."""
    levels = frames.matching(rows, r"^sqnr_rank_\d+$")
    if levels.is_empty():
        raise NothingToDraw("no variant's features were decomposed (config key explain)")
    alike = common(levels, (*frames.VARIANT, "measure"), ()).rows  # a line joins means of the same sets
    levels = frames.mean_of_sets(alike)
    levels = levels.with_columns(rank=pl.col("measure").str.extract(r"(\d+)$").cast(pl.Float64))
    lines = frames.mean_of_runs(levels, ["precision", "family", "source", "rank"])
    looks, marks = plotting.looks(rows), plotting.markers(rows)
    precisions = frames.ordered_precisions(lines)
    across = min(len(precisions), 3 if columns == 2 else 1)
    down = -(-len(precisions) // across)
    fig, axes = plotting.canvas(columns, 0.9 + 1.9 * down, down, across, sharex=True, sharey=True)
    for ax, precision in zip(axes.flat, precisions, strict=False):
        plotting.zero(ax, y=float(lines["value"].min()) < 3)
        for (family, source), part in lines.filter(precision=precision).group_by(
            "family", "source", maintain_order=True
        ):
            look = looks[source]
            style = {"color": look.colour, "linestyle": look.dash, "marker": marks[family], "markersize": 3.5}
            ax.plot(part["rank"] + 1, part["value"], **style)
            if not part["low"].null_count():
                ax.fill_between(part["rank"] + 1, part["low"], part["high"], color=look.colour, alpha=0.12, linewidth=0)
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter(lambda v, _: f"{v:g}")
        ax.set_title(plotting.label(precision.upper()))
    plotting.hide_rest(axes, len(precisions))
    fig.supxlabel("rank in the FP32 spectrum (1 is the strongest, log scale)", fontsize=8)
    fig.supylabel("SQNR (dB)", fontsize=8)
    entries = [
        (s or "all", {"linestyle": looks[s].dash, "color": looks[s].colour}) for s in sorted(lines["source"].unique())
    ]
    entries += [(f, {"marker": marks[f], "color": "#444444"}) for f in sorted(lines["family"].unique())]
    plotting.key(fig, entries, loc="outside upper center", ncols=min(len(entries), 3 * columns))
    return fig
