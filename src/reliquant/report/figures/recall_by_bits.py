"""Recall at 1 against precision, in both directions between images and captions, one line for each method."""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from reliquant.report import frames, plotting, searches
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Search against bits"
QUESTION, PLACE = "search", 1
READ = """The share of queries whose right answer comes first (Recall@1), captions that search images above and images
that search captions below, from FP32 on the left to the fewest bits on the right; images and captions are both embedded
by the quantized model, its text tower being FP32 in the scope image. Mean over captioned sets, models, scopes and seeds
of a source; the library and the queries keep float32 embeddings. A caption's own image alone is right, even where
another image has the same caption. Whiskers are 95 % intervals over images with their captions; marks are set apart
sideways only to be seen."""
MANY = 6
MEASURE = "recall_at_1"
Lines = tuple[list[str], str, pl.DataFrame]  # precisions, what a line is of, means
DASHES = ["-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1))]


@plotting.styled
def figure(rows: Rows, made: Lines | None = None, /, *, columns: Literal[1, 2] = 2) -> Figure:
    """Draw lines of recall over precisions; raise NothingToDraw without two precisions, FP32 among them."""
    precisions, by, lines = prepared(rows) if made is None else made
    sources, x = sorted(lines["source"].unique()), {p: i for i, p in enumerate(precisions)}
    directions = [one for one in reversed(searches.BETWEEN) if one in set(lines["group"])]
    names = sorted(frames.quantized(lines)[by].unique())
    looks, marks = plotting.looks(rows), plotting.markers(rows, by)
    fig, axes = plotting.canvas(columns, 0.6 + 1.9 * len(directions), len(directions), len(sources), sharey="row")
    for (i, k), ax in np.ndenumerate(axes):
        part = lines.filter(source=sources[k], group=directions[i])
        for j, name in enumerate(names):
            own = part.filter((pl.col(by) == name) | (pl.col("scheme") == "fp32"))
            own = own.sort(pl.col("precision").replace_strict(x, return_dtype=pl.Int64))
            aside = (j - (len(names) - 1) / 2) * 0.05
            at = [x[p] + (aside if p != "fp32" else 0) for p in own["precision"]]
            style = {"color": looks[sources[k]].colour, "marker": marks[name], "linestyle": DASHES[j % 4]}
            style["markerfacecolor"] = "white" if j % 2 else looks[sources[k]].colour
            ax.errorbar(at, own["value"] * 100, yerr=plotting.errors(own, factor=100), elinewidth=0.7, **style)
        ax.set_xticks(range(len(precisions)), [plotting.label(p.upper()) for p in precisions])
        ax.set_xlim(-0.3, len(precisions) - 0.7)
        if i == 0:
            ax.set_title(plotting.label(sources[k] or "all models"))
        if k == 0:
            ax.set_ylabel(f"{searches.WORDS[directions[i]]}\nRecall@1 (%)")
    grey = {"color": "#444444", "markersize": 5}
    fills = {name: "white" if j % 2 else "#444444" for j, name in enumerate(names)}
    entries = [(name, {"marker": marks[name], "markerfacecolor": fills[name], **grey}) for name in names]
    plotting.key(fig, entries, loc="outside upper center", ncols=min(len(names), 3 * columns))
    return fig


def prepared(rows: Rows, /) -> Lines:
    """Return the mean recalls that the lines join; raise NothingToDraw without two precisions, FP32 among them."""
    found = frames.select(rows, MEASURE, suite="retrieval").filter(pl.col("group").is_in(searches.BETWEEN))
    precisions = frames.ordered_precisions(found)
    if len(precisions) < 2:
        raise NothingToDraw("fewer than two precisions (FP32 is one) were searched by captions (the suite retrieval)")
    runs = frames.mean_of_sets(found, "group")
    by = "scheme" if frames.quantized(runs)["scheme"].n_unique() <= MANY else "family"
    keys = list(dict.fromkeys(["source", "group", "scheme", by, "precision"]))
    if by == "scheme":
        return precisions, by, frames.mean_of_runs(runs, keys)
    runs = runs.with_columns(scheme=pl.when(pl.col("scheme") == "fp32").then(pl.lit("fp32")).otherwise(pl.lit("")))
    return precisions, by, frames.mean_of_runs(runs, keys)
