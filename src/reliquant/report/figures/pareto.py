"""Pareto fronts: size on disk against each measure."""

from __future__ import annotations

from typing import Literal

import polars as pl
from matplotlib.figure import Figure

from reliquant.report import frames, plotting
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "What a byte buys"
QUESTION, PLACE = "choice", 1
READ = """Each mark is one variant or FP32 model: share of the FP32 model's bytes on disk against a measure's value
(accuracies, ECE, AUROC, relative spurious gap), mean over its sets. Ringed marks on the line are the Pareto front:
nothing smaller is better. FP32 models are stars. Colour is the source, marks are families of methods."""
PANELS = {
    "accuracy (%)": ("clean", "accuracy", True),
    "ECE (%)": ("clean", "ece", False),
    "OOD AUROC (%)": ("ood", "auroc", True),
    "under noise (%)": ("noise", "accuracy", True),
    "shifted (%)": ("shift", "accuracy", True),
    "RSG (%)": ("spurious", "rsg", False),
}


@plotting.styled
def figure(rows: Rows, /, *, columns: Literal[1, 2] = 2) -> Figure:
    """Draw each measure against size; raise NothingToDraw when no variant's size is known."""
    sizes = frames.wide(frames.select(rows, ["bytes", "bytes_fp32"], suite=""))
    if "bytes" not in sizes.columns or "bytes_fp32" not in sizes.columns:
        raise NothingToDraw("no variant's size on disk is known (measures bytes and bytes_fp32)")
    sizes = sizes.select(*frames.VARIANT, size=pl.col("bytes") / pl.col("bytes_fp32"))
    panels = {}
    for name, (suite, measure, _) in PANELS.items():
        values = frames.mean_of_sets(frames.select(rows, measure, suite=suite))
        points = values.join(sizes, on=list(frames.VARIANT), how="inner")
        if points.height:
            panels[name] = points
    if not panels:
        raise NothingToDraw("no variant with a known size has a measure")
    looks, marks = plotting.looks(rows), plotting.markers(rows) | {"FP32": "*"}
    across = min(len(panels), 3 if columns == 2 else 2)
    down = -(-len(panels) // across)
    fig, axes = plotting.canvas(columns, 0.7 + 1.75 * down, down, across, sharex=True)
    for ax, (name, points) in zip(axes.flat, panels.items(), strict=False):
        big = points.height > plotting.BIG
        for (source, family), some in points.group_by("source", "family", maintain_order=True):
            style = {"marker": marks[family], "facecolor": looks[source].colour, "edgecolor": "white", "linewidth": 0.4}
            area = (4 if big else 14) * (2.5 if family == "FP32" else 1)
            ax.scatter(some["size"] * 100, some["value"] * 100, s=area, zorder=3, rasterized=big, **style)
        line = front(points, highest=PANELS[name][2])
        ax.step(line["size"] * 100, line["value"] * 100, where="post", color=plotting.INK, linewidth=0.9, zorder=4)
        ring = {"facecolor": "none", "edgecolor": plotting.INK, "linewidth": 0.8, "zorder": 5}
        ax.scatter(line["size"] * 100, line["value"] * 100, s=34, **ring)
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter(lambda v, _: f"{v:g}")
        ax.set_title(name)
    plotting.hide_rest(axes, len(panels))
    fig.supxlabel("bytes on disk (% of FP32, log scale)", fontsize=8)
    sources, families = (sorted(next(iter(panels.values()))[c].unique()) for c in ("source", "family"))
    entries = [(s or "all", {"marker": "o", "color": looks[s].colour}) for s in sources]
    entries += [(f, {"marker": marks[f], "color": "#444444"}) for f in families]
    plotting.key(fig, entries, loc="outside upper center", ncols=min(len(entries), 3 * columns))
    return fig


def front(points: pl.DataFrame, /, *, highest: bool) -> pl.DataFrame:
    """Return the points that no other of the same or a smaller size beats, smallest first."""
    sign = 1 if highest else -1
    ranked = points.with_columns(good=sign * pl.col("value")).sort("size", "good", descending=[False, True])
    return ranked.filter(pl.col("good") > pl.col("good").cum_max().shift(1).fill_null(float("-inf")))
