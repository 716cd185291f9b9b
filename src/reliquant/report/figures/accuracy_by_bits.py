"""Figure 3: mean accuracy against precision with intervals, one panel per source, one line per method."""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from reliquant.files.artifacts import UNKNOWN
from reliquant.report import frames, plotting
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Accuracy against bits"
QUESTION, PLACE = "accuracy", 2
READ = """Lines are the mean top-1 accuracy over in-distribution sets, models, scopes and seeds of a source, from FP32
on the left to the fewest bits on the right; where a line falls off, the method collapses. Marks are methods (families
where there are more than six). Whiskers are 95 % intervals over test images; marks are set apart sideways only to be
seen."""
MANY = 6
Lines = tuple[list[str], str, pl.DataFrame, pl.DataFrame]  # precisions, what a line is of, variants, means


@plotting.styled
def figure(rows: Rows, made: Lines | None = None, /, *, columns: Literal[1, 2] = 2) -> Figure:
    """Draw lines of accuracy over precisions; raise NothingToDraw without two precisions, FP32 among them."""
    precisions, by, runs, lines = prepared(rows) if made is None else made
    sources = sorted(lines["source"].unique())
    names = sorted(frames.quantized(runs)[by].unique())
    looks, marks = plotting.looks(rows), plotting.markers(rows, by)
    fig, axes = plotting.canvas(columns, 2.9, 1, len(sources), sharey=True)
    x = {p: i for i, p in enumerate(precisions)}
    for ax, source in zip(axes.flat, sources, strict=True):
        part = lines.filter(source=source)
        start = part.filter(precision="fp32")
        for j, name in enumerate(names):
            own = part.filter(pl.col(by) == name)
            line = pl.concat([start, own], how="vertical") if start.height else own
            line = line.sort(pl.col("precision").replace_strict(x, return_dtype=pl.Int64))
            aside = (j - (len(names) - 1) / 2) * 0.05
            at = np.array([x[p] + (aside if p != "fp32" else 0) for p in line["precision"]])
            fill = "white" if j % 2 else looks[source].colour
            style = {"color": looks[source].colour, "marker": marks[name], "markerfacecolor": fill}
            ends = plotting.errors(line, factor=100)
            dash = ["-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1))][j % 4]
            ax.errorbar(at, line["value"] * 100, yerr=ends, elinewidth=0.7, linestyle=dash, label=name, **style)
        ax.set_title(plotting.label(source or "all models"))
        ax.set_xticks(range(len(precisions)), [plotting.label(p.upper()) for p in precisions])
        ax.set_xlim(-0.3, len(precisions) - 0.7)
    axes[0, 0].set_ylabel("accuracy (%)")
    grey = {"color": "#444444", "markersize": 5}
    entries = [
        (n, {"marker": marks[n], "markerfacecolor": "white" if j % 2 else "#444444", **grey})
        for j, n in enumerate(names)
    ]
    plotting.key(fig, entries, loc="outside upper center", ncols=min(len(names), 3 * columns))
    return fig


def prepared(rows: Rows, /) -> Lines:
    """Return the mean accuracies that the lines join; raise NothingToDraw without two precisions, FP32 among them."""
    accuracies = frames.select(rows, "accuracy").filter(pl.col("precision") != UNKNOWN)
    precisions = frames.ordered_precisions(accuracies)
    if len(precisions) < 2:
        raise NothingToDraw("fewer than two known precisions (FP32 is one) have an accuracy on a clean set")
    runs = frames.mean_of_sets(accuracies)
    by = "scheme" if frames.quantized(runs)["scheme"].n_unique() <= MANY else "family"
    return precisions, by, runs, frames.mean_of_runs(runs, ["source", by, "precision"])
