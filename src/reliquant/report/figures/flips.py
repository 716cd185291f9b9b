"""Flips: images whose answer turned right or wrong, which equal accuracy may hide."""

from __future__ import annotations

from typing import Literal

from matplotlib.figure import Figure

from reliquant.report import frames, plotting
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Answers that flipped"
QUESTION, PLACE = "accuracy", 4
READ = """Bars are the share of test images whose answer turned from right to wrong (left, dark) and from wrong to
right (right, light), mean over in-distribution sets, models, scopes and seeds. Two bars of equal length cancel in
accuracy, yet the model answers those images differently (Dutta et al. 2024)."""
SIDES = {
    "flips_right_to_wrong": (-1, "#3d3d3d", "right to wrong"),
    "flips_wrong_to_right": (1, "#bdbdbd", "wrong to right"),
}


@plotting.styled
def figure(rows: Rows, /, *, columns: Literal[1, 2] = 2) -> Figure:
    """Draw the two kinds of flips by method and precision; raise NothingToDraw without them."""
    flips = frames.quantized(frames.select(rows, SIDES))
    if flips.is_empty():
        raise NothingToDraw("no flips were counted (measures flips_right_to_wrong and flips_wrong_to_right)")
    keys = ["family", "scheme", "precision"]
    bars = frames.mean_of_runs(frames.mean_of_sets(flips), ["measure", *keys])
    order = {p: i for i, p in enumerate(frames.ordered_precisions(bars))}
    lines = sorted(bars.select(keys).unique().rows(), key=lambda k: (k[:2], order[k[2]]))
    fig, axes = plotting.canvas(columns, 0.8 + 0.17 * len(lines))
    ax = axes[0, 0]
    for measure, (sign, colour, label) in SIDES.items():
        part = bars.filter(measure=measure)
        y = [lines.index(line) for line in part.select(keys).iter_rows()]
        ax.barh(y, sign * part["value"] * 100, 0.8, color=colour, label=label)
        ends = plotting.errors(part, factor=100)
        ends = None if ends is None else ends[::sign]
        ax.errorbar(sign * part["value"] * 100, y, xerr=ends, fmt="none", ecolor="#b04a00", elinewidth=0.9)
    plotting.zero(ax, x=True)
    ax.set_yticks(range(len(lines)), [plotting.label(f"{s}  {p.upper()}") for _, s, p in lines])
    ax.set_ylim(len(lines) - 0.4, -0.6)
    ax.xaxis.set_major_formatter(lambda v, _: f"{abs(v):g}")
    ax.set_xlabel("share of images (%)")
    ax.grid(visible=False, axis="y")
    fig.legend(loc="outside upper center", ncols=2)
    return fig
