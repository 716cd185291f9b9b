"""Accuracy against what a weight really takes: uniform bits of each method, and `mixed` beside its own."""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reliquant.report import frames, plotting
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Accuracy against stored bits"
QUESTION, PLACE = "choice", 2
READ = """Each line is a scheme from its most bits to its fewest: stored bits of a weight, with its scales and zero
points, layers that a scheme keeps in floating point included, against mean top-1 accuracy over in-distribution sets,
models, scopes and seeds of a source; the dashed line is FP32. At equal height the line further left is the better
buy: so `mixed`, whose layers have bits of their own, compares with uniform bits of its method. Activations may
differ along a line: each mark is a precision. Whiskers are 95 % intervals over test images."""
BY = ["source", "scheme", "precision"]
Lines = tuple[pl.DataFrame, pl.DataFrame]
DASHES = ["-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1))]


@plotting.styled
def figure(rows: Rows, made: Lines | None = None, /, *, columns: Literal[1, 2] = 2) -> Figure:
    """Draw a line for each scheme; raise NothingToDraw where no variant's stored bits and accuracy are known."""
    lines, exact = prepared(rows) if made is None else made
    sources, names = sorted(lines["source"].unique()), sorted(lines["scheme"].unique())
    looks, marks = plotting.looks(rows), plotting.markers(rows, "scheme")
    fig, axes = plotting.canvas(columns, 2.9, 1, len(sources), sharey=True)
    for ax, source in zip(axes.flat, sources, strict=True):
        for j, name in enumerate(names):
            own = lines.filter(source=source, scheme=name).sort("bits")
            if own.height:
                _line(ax, own, looks[source].colour, marks[name], j)
        for value in exact.filter(source=source)["value"]:
            ax.axhline(100 * value, color=plotting.INK, linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
        ax.set_title(plotting.label(source or "all models"))
    axes[0, 0].set_ylabel("accuracy (%)")
    fig.supxlabel("stored bits of a weight", fontsize=8)
    entries = []
    for j, name in enumerate(names):
        fill = "white" if j % 2 else "#444444"
        style = {"marker": marks[name], "markerfacecolor": fill, "color": "#444444", "markersize": 5}
        entries.append((name, {**style, "linestyle": DASHES[j % 4], "linewidth": 0.8}))
    plotting.key(fig, entries, loc="outside upper center", ncols=min(len(names), 3 * columns))
    return fig


def prepared(rows: Rows, /) -> Lines:
    """Return mean accuracies with their stored bits, by source, scheme and precision, and FP32's, by source."""
    stored = frames.quantized(frames.select(rows, "stored_bits", suite=""))
    runs = frames.mean_of_sets(frames.select(rows, "accuracy"))
    known = frames.quantized(runs).join(stored.select(*frames.VARIANT), on=list(frames.VARIANT), how="semi")
    if known.is_empty():
        raise NothingToDraw("no variant with an accuracy on a clean set says its stored bits (measure stored_bits)")
    bits = stored.group_by(BY, maintain_order=True).agg(bits=pl.col("value").mean())
    lines = frames.mean_of_runs(known, BY).join(bits, on=BY, how="inner", maintain_order="left")
    exact = runs.filter(scheme="fp32")
    return lines, frames.mean_of_runs(exact, ["source"]) if exact.height else exact


def _line(ax: Axes, own: pl.DataFrame, colour: str, mark: str, number: int) -> None:
    """Draw a scheme's marks, from its fewest bits on, with whiskers."""
    style = {"color": colour, "marker": mark, "markerfacecolor": "white" if number % 2 else colour}
    x = np.asarray(own["bits"])
    ends = plotting.errors(own, factor=100)
    ax.errorbar(x, own["value"] * 100, yerr=ends, elinewidth=0.7, linestyle=DASHES[number % 4], **style)
