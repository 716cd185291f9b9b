"""Figure 1: change of accuracy against change of calibration error, one point per variant, one panel per source."""

from __future__ import annotations

from typing import Literal

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reliquant.report import frames, plotting
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Accuracy lost, calibration gained or lost"
QUESTION, PLACE = "headline", 1
READ = """Each mark is one quantized variant, averaged over the in-distribution test sets: to the right it is more
accurate than its FP32 model, below zero its confidence is better calibrated (lower ECE, scale not re-tuned). Panels
are the sources of the pre-training data, marks are families of methods; a full mark has the most bits, a white one
the fewest. The grey band holds variants within 2 % of the FP32 accuracy. Whiskers are 95 % intervals over test
images; the ECE, as published, has none: the tables tell whether calibration changed."""
LINES = 80  # variants per panel above which whiskers would hide the marks


@plotting.styled
def figure(rows: Rows, made: pl.DataFrame | None = None, /, *, columns: Literal[1, 2] = 2) -> Figure:
    """Draw change of ECE against change of accuracy; raise NothingToDraw without quantized variants."""
    points = prepared(rows) if made is None else made
    looks, marks = plotting.looks(rows), plotting.markers(rows)
    shares = plotting.shades(frames.ordered_precisions(points))
    sources = sorted(points["source"].unique())
    across = min(len(sources), columns + (columns == 2))
    down = -(-len(sources) // across)
    fig, axes = plotting.canvas(columns, 0.75 + 2.4 * down, down, across, sharex=True, sharey=True)
    for ax, source in zip(axes.flat, sources, strict=False):
        part = points.filter(source=source)
        _panel(ax, part, looks[source].colour, marks, shares)
        ax.set_title(f"{plotting.label(source or 'all models')} ({part.height} variants)")
    plotting.hide_rest(axes, len(sources))
    fig.supxlabel("change of accuracy (points)", fontsize=8)
    fig.supylabel("change of ECE (points)", fontsize=8)
    corner = {"fontsize": 6.5, "color": "#666666", "transform": axes[0, 0].transAxes, "style": "italic"}
    axes[0, 0].text(0.02, 0.02, "better calibrated ↓", va="bottom", **corner)
    grey = {"color": "#444444", "markersize": 5}
    entries = [
        (f, {"marker": marks[f], "markerfacecolor": "#444444", **grey}) for f in sorted(points["family"].unique())
    ]
    entries += [
        (p.upper(), {"marker": "o", "markerfacecolor": plotting.tint("#444444", s), **grey}) for p, s in shares.items()
    ]
    plotting.key(fig, entries, loc="outside upper center", ncols=min(len(entries), 3 * columns))
    return fig


def prepared(rows: Rows, /) -> pl.DataFrame:
    """Return the variants with their mean changes; raise NothingToDraw without quantized variants."""
    changes = frames.quantized(frames.select(rows, ["accuracy_change", "accuracy_delta", "ece_change"]))
    if changes.is_empty() or "ece_change" not in changes["measure"]:
        raise NothingToDraw("no quantized variant has a change of accuracy and of ECE on a clean set")
    return frames.wide(frames.mean_of_sets(changes)).drop_nulls(["accuracy_change", "ece_change"])


def _panel(ax: Axes, part: pl.DataFrame, colour: str, marks: dict[str, str], shares: dict[str, float]) -> None:
    """Draw the variants of one source."""
    plotting.zero(ax, x=True, y=True)
    big = part.height > plotting.BIG
    if part.height <= LINES:
        x, y = part["accuracy_change"] * 100, part["ece_change"] * 100
        ends = {"xerr": plotting.errors(part, "accuracy_change", factor=100)}
        ends["yerr"] = plotting.errors(part, "ece_change", factor=100)
        ax.errorbar(x, y, **ends, fmt="none", ecolor="#bbbbbb", elinewidth=0.6, zorder=2)
    for (family, precision), some in part.group_by("family", "precision", maintain_order=True):
        x, y = some["accuracy_change"] * 100, some["ece_change"] * 100
        fill = plotting.tint(colour, shares[precision])
        style = {"marker": marks[family], "facecolor": [fill], "edgecolor": colour}
        ax.scatter(x, y, s=6 if big else 20, linewidth=0.8, zorder=3, rasterized=big, **style)
    small = part.filter(part["accuracy_delta"].fill_null(1.0).abs() < 0.02)["accuracy_change"] * 100
    if len(small):
        ax.axvspan(small.min(), small.max(), color="#f0f0f0", zorder=0)
