"""SQNR of weights and outputs layer by layer: where in the image tower does the noise enter?"""

from __future__ import annotations

from typing import Literal

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reliquant.report import frames, plotting
from reliquant.report.frames import Rows
from reliquant.report.layer_order import block_number, in_order
from reliquant.report.plotting import NothingToDraw

TITLE = "Where the noise enters"
QUESTION, PLACE = "why", 6
READ = """Signal to quantization noise of each quantized layer of the image tower, from the input on the left to the
embedding on the right: lines are the layers' outputs, with all noise that came before them, small crosses their weights
alone. A step down between neighbours is where noise enters. Mean over methods and seeds; methods that rotate the stream
between blocks cannot be compared layer by layer and are left out, as are weights into which scales were moved."""


@plotting.styled
def figure(rows: Rows, /, *, columns: Literal[1, 2] = 2) -> Figure:
    """Draw SQNR over layers, one panel per model; raise NothingToDraw without layers."""
    layers = frames.select(rows, ["output_sqnr", "weight_sqnr"], suite="explain")
    if layers.is_empty():
        raise NothingToDraw("no variant's layers were compared with FP32's (config key explain)")
    by = ["model", "source", "measure", "precision", "group"]
    means = frames.mean_of_runs(frames.mean_of_sets(layers, "group"), by)
    models = sorted(means.select("source", "model").unique().rows())
    looks, precisions = plotting.looks(rows), frames.ordered_precisions(means)
    shades = plotting.shades(precisions)
    across = 2 if columns == 2 and len(models) > 1 else 1
    down = -(-len(models) // across)
    fig, axes = plotting.canvas(columns, 0.9 + 1.7 * down, down, across, sharey=True)
    for ax, (source, model) in zip(axes.flat, models, strict=False):
        _panel(ax, means.filter(model=model), looks[source].colour, shades)
        ax.set_title(plotting.label(model), fontsize=7.5)
    plotting.hide_rest(axes, len(models))
    fig.supxlabel("layer (ticks: first layer of a block)", fontsize=8)
    fig.supylabel("SQNR (dB)", fontsize=8)
    grey = {"color": "#444444", "markersize": 4}
    entries = []
    for k, precision in enumerate(precisions):
        line = {"marker": plotting.MARKERS[k], "linestyle": "-"}
        fill = plotting.tint("#444444", shades[precision])
        entries.append((f"outputs, {precision.upper()}", {**line, "markerfacecolor": fill, **grey}))
    plotting.key(fig, [*entries, ("weights", {"marker": "x", **grey})], loc="outside upper center", ncols=2 * columns)
    return fig


def _panel(ax: Axes, part: pl.DataFrame, colour: str, shades: dict[str, float]) -> None:
    """Draw the layers of one model: lines of outputs and crosses of weights, by precision."""
    names = sorted(part["group"].unique(), key=in_order)
    place = {name: i for i, name in enumerate(names)}
    for k, (precision, shade) in enumerate(shades.items()):
        fill = plotting.tint(colour, shade)
        for measure, style in (
            ("output_sqnr", {"marker": plotting.MARKERS[k]}),
            ("weight_sqnr", {"marker": "x", "linestyle": ""}),
        ):
            own = part.filter(precision=precision, measure=measure)
            points = sorted((place[layer], value) for layer, value in own.select("group", "value").iter_rows())
            shown = {"color": colour, "markerfacecolor": fill, "markersize": 3, **style}
            ax.plot([x for x, _ in points], [y for _, y in points], linewidth=0.9, **shown)
    firsts = [i for i, name in enumerate(names) if i == 0 or block_number(name) != block_number(names[i - 1])]
    every = max(1, len(firsts) // 8)
    ax.set_xticks(firsts[::every], [block_number(names[i]) for i in firsts[::every]], fontsize=6.5)
