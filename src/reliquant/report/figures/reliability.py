"""Reliability diagram: accuracy against confidence by bins, FP32 and quantized."""

from __future__ import annotations

from typing import Literal

from matplotlib.figure import Figure

from reliquant.report import frames, plotting
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Reliability diagrams"
QUESTION, PLACE = "calibration", 2
READ = """Images are put into ten bins by confidence; each mark is a bin's accuracy against its mean confidence, over
models, methods, sets and seeds of a source. Below the diagonal a model is over-confident, above it under-confident.
Large marks hold at least a tenth of the images."""


@plotting.styled
def figure(rows: Rows, /, *, columns: Literal[1, 2] = 2) -> Figure:
    """Draw one panel per source, one line per precision; raise NothingToDraw without binned rows of `explain`."""
    bins = frames.binned(rows, "reliability").filter(scale="native")
    if bins.is_empty():
        raise NothingToDraw("no confidences were binned (config key explain)")
    sources, precisions = sorted(bins["source"].unique()), frames.ordered_precisions(bins)
    looks, shades = plotting.looks(rows), plotting.shades(precisions)
    across = min(len(sources), 1 + (columns == 2))
    down = -(-len(sources) // across)
    side = min(2.9, plotting.WIDTHS[columns] / across)
    fig, axes = plotting.canvas(columns, 0.6 + side * down, down, across, sharex=True, sharey=True)
    for ax, source in zip(axes.flat, sources, strict=False):
        ax.plot([0, 100], [0, 100], color="#999999", linewidth=0.8, linestyle=(0, (3, 2)), zorder=1)
        for k, precision in enumerate(precisions):
            part = bins.filter(source=source, precision=precision).sort("bin")
            colour = plotting.INK if precision == "fp32" else looks[source].colour
            big = part["n"] >= part["n"].sum() / 10
            fill = [plotting.tint(colour, shades[precision])]
            ax.plot(part["confidence"] * 100, part["accuracy"] * 100, color=colour, linewidth=0.9, zorder=2)
            size = [26 if b else 9 for b in big]
            mark = {"marker": plotting.MARKERS[k], "facecolor": fill, "edgecolor": colour}
            ax.scatter(part["confidence"] * 100, part["accuracy"] * 100, s=size, linewidth=0.8, zorder=3, **mark)
        ax.set(xlim=(0, 100), ylim=(0, 100), aspect="equal", title=plotting.label(source or "all models"))
    plotting.hide_rest(axes, len(sources))
    fig.supxlabel("mean confidence (%)", fontsize=8)
    fig.supylabel("accuracy (%)", fontsize=8)
    grey = {"color": "#444444", "markersize": 5}
    entries = [
        (p.upper(), {"marker": plotting.MARKERS[k], "markerfacecolor": plotting.tint("#444444", shades[p]), **grey})
        for k, p in enumerate(precisions)
    ]
    plotting.key(fig, entries, loc="outside upper center", ncols=min(len(entries), 3 * columns))
    return fig
