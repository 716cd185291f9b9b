"""OOD detection against calibration: does what hurts confidence hurt detection too?"""

from __future__ import annotations

from typing import Literal

import polars as pl
from matplotlib.figure import Figure

from reliquant.report import frames, plotting
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Detection of the unknown against calibration"
QUESTION, PLACE = "ood", 1
READ = """Each mark is one quantized variant: change of ECE on in-distribution sets (left is better calibrated)
against change of AUROC, mean over OOD sets (up detects better), one panel per score. Colour and edge are the source,
marks families of methods; a full mark has the most bits. Variants in the upper right detect better although their
confidence got worse."""


@plotting.styled
def figure(rows: Rows, made: pl.DataFrame | None = None, /, *, columns: Literal[1, 2] = 2) -> Figure:
    """Draw change of AUROC against change of ECE; raise NothingToDraw without an OOD suite."""
    points = prepared(rows) if made is None else made
    scores = sorted(points["score"].unique())
    looks, marks = plotting.looks(rows), plotting.markers(rows)
    shares = plotting.shades(frames.ordered_precisions(points))
    across = min(len(scores), 4 if columns == 2 else 2)
    down = -(-len(scores) // across)
    fig, axes = plotting.canvas(columns, 0.9 + 1.7 * down, down, across, sharex=True, sharey=True)
    for ax, score in zip(axes.flat, scores, strict=False):
        plotting.zero(ax, x=True, y=True)
        part = points.filter(score=score)
        big = part.height > plotting.BIG
        for (source, family, precision), some in part.group_by("source", "family", "precision", maintain_order=True):
            fill = plotting.tint(looks[source].colour, shares[precision])
            style = {"marker": marks[family], "facecolor": [fill], "edgecolor": looks[source].colour, "linewidth": 0.7}
            ax.scatter(some["ece"] * 100, some["value"] * 100, s=4 if big else 14, rasterized=big, zorder=3, **style)
        ax.set_title(plotting.label(score))
    plotting.hide_rest(axes, len(scores))
    fig.supxlabel("change of ECE (points)", fontsize=8)
    fig.supylabel("change of AUROC (points)", fontsize=8)
    entries = [(s or "all", {"marker": "o", "color": looks[s].colour}) for s in sorted(points["source"].unique())]
    entries += [(f, {"marker": marks[f], "color": "#444444"}) for f in sorted(points["family"].unique())]
    plotting.key(fig, entries, loc="outside upper center", ncols=min(len(entries), 3 * columns))
    return fig


def prepared(rows: Rows, /) -> pl.DataFrame:
    """Return the variants with both mean changes; raise NothingToDraw without an OOD suite."""
    ood = frames.quantized(frames.select(rows, "auroc_change", suite="ood"))
    ece = frames.quantized(frames.select(rows, "ece_change"))
    if ood.is_empty() or ece.is_empty():
        raise NothingToDraw("no quantized variant has both a change of AUROC on OOD sets and a change of ECE")
    x = frames.mean_of_sets(ece).select(*frames.VARIANT, ece="value")
    return frames.mean_of_sets(ood, "score").join(x, on=list(frames.VARIANT), how="inner")
