"""Spatial frequencies of feature maps: what quantization shifts towards low ones."""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from reliquant.report import frames, plotting
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Spatial frequencies of feature maps"
QUESTION, PLACE = "why", 3
READ = """The patch tokens (or the last convolutional maps of at least 4 x 4) before pooling, Fourier transformed in
space: change of the share of energy at each radius to FP32, in points of the energy without the mean, over methods
and seeds. Above zero on the left and below on the right: quantization shifts energy to low frequencies. Whiskers are
95 % intervals of the quantized share over images; radius 1 is one cycle in two patches."""


@plotting.styled
def figure(rows: Rows, /, *, columns: Literal[1, 2] = 2) -> Figure:
    """Draw change of energy against radius, one panel per model; raise NothingToDraw without feature maps."""
    energies = frames.select(rows, "radial_energy", suite="explain")
    if frames.quantized(energies).is_empty():
        raise NothingToDraw("no variant's feature maps were transformed (config key explain; none of at least 4 x 4)")
    means = frames.mean_of_runs(frames.mean_of_sets(energies, "group"), ["model", "source", "precision", "group"])
    fp32 = means.filter(precision="fp32").select("model", "group", fp32="value")
    lines = means.filter(pl.col("precision") != "fp32").join(fp32, on=["model", "group"], how="inner")
    if lines.is_empty():
        raise NothingToDraw("the FP32 models' feature maps were not transformed")
    change = pl.col("value", "low", "high") - pl.col("fp32")
    lines = lines.with_columns(change, radius=pl.col("group").cast(pl.Float64)).sort("radius")
    models = sorted(lines.select("source", "model").unique().rows())
    looks, precisions = plotting.looks(rows), frames.ordered_precisions(lines)
    shades = plotting.shades(precisions)
    across = min(len(models), 2 * columns)
    down = -(-len(models) // across)
    fig, axes = plotting.canvas(columns, 0.9 + 1.6 * down, down, across, sharey=True)
    for ax, (source, model) in zip(axes.flat, models, strict=False):
        plotting.zero(ax, y=True)
        colour = looks[source].colour
        for k, precision in enumerate(precisions):
            part = lines.filter(model=model, precision=precision)
            style = {"color": colour, "marker": plotting.MARKERS[k], "markersize": 3.5}
            style["markerfacecolor"] = plotting.tint(colour, shades[precision])
            ends = plotting.errors(part, factor=100)
            aside = np.array(part["radius"]) + (k - (len(precisions) - 1) / 2) * 0.012
            ax.errorbar(aside, part["value"] * 100, yerr=ends, elinewidth=0.6, **style)
        ax.set_title(plotting.label(model), fontsize=7.5)
    plotting.hide_rest(axes, len(models))
    fig.supxlabel("spatial frequency (share of Nyquist)", fontsize=8)
    fig.supylabel("share of energy, change (points)", fontsize=8)
    entries = []
    for k, precision in enumerate(precisions):
        fill = plotting.tint("#444444", shades[precision])
        style = {"marker": plotting.MARKERS[k], "color": "#444444", "markerfacecolor": fill}
        entries.append((precision.upper(), style))
    plotting.key(fig, entries, loc="outside upper center", ncols=len(entries))
    return fig
