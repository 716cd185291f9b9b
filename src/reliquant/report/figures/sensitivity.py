"""One layer at a time: what quantizing it alone does to embeddings, accuracy, calibration and OOD detection."""

from __future__ import annotations

from typing import Literal

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from reliquant.report import frames, plotting
from reliquant.report.frames import Rows
from reliquant.report.layer_order import block_number, in_order
from reliquant.report.plotting import NothingToDraw

TITLE = "Which layers to spare"
QUESTION, PLACE = "why", 8
READ = """Each layer (or block), from the input to the embedding, is quantized alone while all others stay in floating
point: the squared error of the unit embeddings of the proxy's pairs (log scale), and changes from FP32 in points with
95 % intervals over images, paired. A layer that stands out is worth more bits (`layers: other`, or `mixed`), or none
(`layers: keep`). Mean over sets, methods and seeds, whose ends are averaged as if all erred together."""
PANELS = {  # measure: what the axis says
    "alone_output_error": "output error",
    "alone_accuracy_change": "accuracy (points)",
    "alone_squared_ce_change": "squared CE (points)",
    "alone_auroc_change": "AUROC (points)",
}
MOST_TICKS = 8


@plotting.styled
def figure(rows: Rows, /, *, columns: Literal[1, 2] = 2) -> Figure:
    """Draw each measure over layers, one row of panels per model; raise NothingToDraw without layers tried alone."""
    alone = frames.select(rows, list(PANELS), suite="explain")
    if alone.is_empty():
        raise NothingToDraw("no layer was quantized alone (rows of `reliquant sensitivity`)")
    means = averaged(alone)
    models = sorted(means.select("source", "model").unique().rows())
    present = [measure for measure in PANELS if measure in means["measure"]][: 4 if columns == 2 else 2]
    looks, precisions = plotting.looks(rows), frames.ordered_precisions(means)
    fig, axes = plotting.canvas(columns, 0.9 + 1.6 * len(models), len(models), len(present))
    for line, (source, model) in zip(axes, models, strict=True):
        part = means.filter(model=model, source=source)
        for ax, measure in zip(line, present, strict=True):
            _panel(ax, part, measure, looks[source].colour, precisions)
            ax.set_title(f"{plotting.label(model)}\n{PANELS[measure]}", fontsize=7.5)
    fig.supxlabel("layer (ticks: first layer of a block)", fontsize=8)
    shades, entries = plotting.shades(precisions), []
    for k, precision in enumerate(precisions):
        fill = plotting.tint("#444444", shades[precision])
        style = {"marker": plotting.MARKERS[k], "markerfacecolor": fill, "color": "#444444", "markersize": 4}
        entries.append((precision.upper(), style))
    plotting.key(fig, entries, loc="outside upper center", ncols=4 * columns)
    return fig


def averaged(alone: pl.DataFrame, /) -> pl.DataFrame:
    """Return the mean of each measure by model, precision and layer; an end is null where one of the means' is."""
    ends = [
        pl.when(pl.col(end).is_not_null().all()).then(pl.col(end).mean()).otherwise(None).alias(end)
        for end in ("low", "high")
    ]
    by = ["model", "source", "measure", "precision", "group"]
    return alone.group_by(by, maintain_order=True).agg(pl.col("value").mean(), *ends)


def _panel(ax: Axes, part: pl.DataFrame, measure: str, colour: str, precisions: list[str]) -> None:
    """Draw one measure of a model's layers, with its intervals, by precision."""
    names = sorted(part["group"].unique(), key=in_order)
    place, shades = {name: i for i, name in enumerate(names)}, plotting.shades(precisions)
    factor = 1 if measure == "alone_output_error" else 100
    for k, precision in enumerate(precisions):
        own = part.filter(measure=measure, precision=precision)
        own = own.with_columns(x=pl.col("group").replace_strict(place, return_dtype=pl.Int64)).sort("x")
        if own.is_empty():
            continue
        style = {"marker": plotting.MARKERS[k], "markerfacecolor": plotting.tint(colour, shades[precision])}
        whiskers = plotting.errors(own, factor=factor)
        ax.errorbar(own["x"], own["value"] * factor, yerr=whiskers, color=colour, elinewidth=0.7, markersize=3,
                    linewidth=0.8, **style)  # fmt: skip
    if measure == "alone_output_error" and (part.filter(measure=measure)["value"] > 0).all():
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(lambda v, _: f"{v:g}")
        ax.yaxis.set_minor_formatter(NullFormatter())
    else:
        plotting.zero(ax, y=True)
    firsts = [i for i, name in enumerate(names) if i == 0 or block_number(name) != block_number(names[i - 1])]
    every = -(-len(firsts) // MOST_TICKS)
    ax.set_xticks(firsts[::every], [block_number(names[i]) for i in firsts[::every]], fontsize=6.5)
