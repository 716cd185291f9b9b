"""Accuracy from bands of ranks alone: change to FP32, in each one's own basis and in FP32's."""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from reliquant.report import frames, plotting
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "What bands of ranks classify"
QUESTION, PLACE = "why", 2
READ = """Features are cut down to a band of principal directions (the mean kept) and classified as before: change of
accuracy to FP32 features cut in the same way, in points, mean over models, sets and seeds. Upper panels: each model's
own directions; lower panels: FP32's. Embeddings narrower than 128 have an eighth and half of their width as edges in
place of 8 and 64. Marks are families of methods; whiskers are 95 % intervals over images."""
BASES = {"": "own directions", "_fp32_basis": "FP32's directions"}
PATTERN = r"^accuracy_rank_(\d+_(?:\d+|end))(|_fp32_basis)_change$"


@plotting.styled
def figure(rows: Rows, /, *, columns: Literal[1, 2] = 2) -> Figure:
    """Draw change of accuracy by band; raise NothingToDraw without rows of `explain`."""
    changes = frames.matching(rows, PATTERN)
    if changes.is_empty():
        raise NothingToDraw("no variant was asked about bands of ranks (config key explain)")
    parts = pl.col("measure").str.extract_groups(PATTERN)
    runs = frames.mean_of_sets(changes).with_columns(band=parts.struct["1"], basis=parts.struct["2"].fill_null(""))
    points = frames.mean_of_runs(runs, ["basis", "precision", "family", "band"])
    precisions, families = frames.ordered_precisions(points), sorted(points["family"].unique())
    bands = sorted(points["band"].unique(), key=_in_order)
    shown = [b for b in BASES if b in points["basis"]]
    marks, shades = plotting.markers(rows), plotting.shades(families)
    fig, axes = plotting.canvas(columns, 0.8 + 1.7 * len(shown), len(shown), len(precisions), sharex=True, sharey=True)
    for (i, j), ax in np.ndenumerate(axes):
        plotting.zero(ax, y=True)
        for k, family in enumerate(families):
            part = points.filter(basis=shown[i], precision=precisions[j], family=family)
            x = np.array([bands.index(b) for b in part["band"]]) + (k - (len(families) - 1) / 2) * 0.6 / len(families)
            fill = plotting.tint(plotting.INK, 0.15 + 0.85 * shades[family])
            style = {"fmt": marks[family], "color": plotting.INK, "markerfacecolor": fill, "markersize": 4.5}
            ax.errorbar(x, part["value"] * 100, yerr=plotting.errors(part, factor=100), elinewidth=0.8, **style)
        turned = 30 if columns == 1 or len(bands) > 4 else 0
        ax.set_xticks(range(len(bands)), [_said(band) for band in bands], rotation=turned)
        ax.set_xlim(-0.5, len(bands) - 0.5)
        ax.grid(visible=False, axis="x")
        if i == 0:
            ax.set_title(plotting.label(precisions[j].upper()))
        if j == 0:
            ax.set_ylabel(BASES[shown[i]])
    fig.supxlabel("ranks", fontsize=8)
    fig.supylabel("change of accuracy (points)", fontsize=8)
    style = {"color": plotting.INK, "markersize": 5}
    entries = [
        (f, {"marker": marks[f], "markerfacecolor": plotting.tint(plotting.INK, 0.15 + 0.85 * shades[f]), **style})
        for f in families
    ]
    plotting.key(fig, entries, loc="outside upper center", ncols=min(len(entries), 3 * columns))
    return fig


def _in_order(band: str) -> list[int]:
    """Return the edges of a band, by which bands are sorted; `end` comes after every number."""
    return [int(edge) if edge.isdigit() else 10**6 for edge in band.split("_")]


def _said(band: str) -> str:
    """Write a band for a reader."""
    low, high = band.split("_")
    return f"{low} on" if high == "end" else f"{low}-{high}"
