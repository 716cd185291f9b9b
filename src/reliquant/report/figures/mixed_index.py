"""Must a library be embedded again? Recall at 1 where queries, library or both are of the quantized model."""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from reliquant.report import frames, plotting, searches
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Must a library be embedded again?"
QUESTION, PLACE = "search", 2
READ = """Change of Recall@1 from a search in which all is FP32, in points: both sides embedded by the quantized model,
the quantized model's queries in a library that FP32 embedded, and FP32's queries in a library that the quantized model
embedded. Where the middle mark lies at 0, a library may stay as it is when the model that serves queries is quantized.
Where the scope is image captions are embedded by FP32 in any case, so that one of the mixed searches is FP32's own: its
change is 0, and its interval that of a single answer in doubt. Mean over captioned sets, models, methods and seeds.
Whiskers are 95 % intervals over images with their captions."""
KINDS = {
    "recall_at_1_change": ("both sides quantized", "o", "#3d3d3d"),
    "recall_at_1_fp32_library_change": ("library kept in FP32", "s", "#0b4f8a"),
    "recall_at_1_fp32_queries_change": ("queries in FP32", "D", "#b04a00"),
}


@plotting.styled
def figure(rows: Rows, made: pl.DataFrame | None = None, /, *, columns: Literal[1, 2] = 2) -> Figure:
    """Draw the three changes by precision, direction and scope; raise NothingToDraw without mixed indexes."""
    means = prepared(rows) if made is None else made
    precisions = frames.ordered_precisions(means)
    directions = [one for one in reversed(searches.BETWEEN) if one in set(means["group"])]
    scopes = sorted(means["scope"].unique(), reverse=True)
    fig, axes = plotting.canvas(
        columns, 0.7 + 1.7 * len(directions), len(directions), len(scopes), sharey=True, sharex=True
    )
    for (i, k), ax in np.ndenumerate(axes):
        part = means.filter(group=directions[i], scope=scopes[k])
        for j, (measure, (_, mark, colour)) in enumerate(KINDS.items()):
            own = part.filter(measure=measure)
            at = [precisions.index(p) + 0.2 * (j - 1) for p in own["precision"]]
            style = {"marker": mark, "color": colour, "linestyle": "", "elinewidth": 0.9, "zorder": 3}
            ax.errorbar(at, own["value"] * 100, yerr=plotting.errors(own, factor=100), **style)
        plotting.zero(ax, y=True)
        ax.set_xticks(range(len(precisions)), [plotting.label(p.upper()) for p in precisions])
        ax.set_xlim(-0.5, len(precisions) - 0.5)
        if i == 0:
            ax.set_title(f"scope {scopes[k]}")
        if k == 0:
            ax.set_ylabel(f"{searches.WORDS[directions[i]]}\nRecall@1, change (points)")
    entries = [(name, {"marker": mark, "color": colour, "markersize": 5}) for name, mark, colour in KINDS.values()]
    narrow = plotting.NARROW if columns == 1 else {"ncols": 3}
    plotting.key(fig, entries, loc="outside upper center", **narrow)
    return fig


def prepared(rows: Rows, /) -> pl.DataFrame:
    """Return the mean changes by direction, scope, precision and measure; raise NothingToDraw without them."""
    found = frames.quantized(frames.select(rows, KINDS, suite="retrieval"))
    found = found.filter(pl.col("group").is_in(searches.BETWEEN))
    if not {measure for measure in KINDS if "fp32" in measure} & set(found["measure"]):
        raise NothingToDraw("no quantized variant searched a library of FP32, or was searched by it (suite retrieval)")
    runs = frames.mean_of_sets(found, "group")
    return frames.mean_of_runs(runs, ["group", "scope", "precision", "measure"])
