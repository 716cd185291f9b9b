"""The words of the prompt: what quantization changes, beside what another wording would."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from reliquant.measures.stats import holm
from reliquant.report import frames, plotting, tabling
from reliquant.report.common_sets import common
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Quantization against another wording of the prompt"
QUESTION, PLACE = "robustness", 4
READ = """The grey band is the standard deviation of FP32's accuracy over the templates of a set, each taken alone,
without the noise of the images; the lighter band reaches to the upper end of its 95 % interval. A mark is the change of
the accuracy with all templates, in points; where it is full, it is proven to lie beyond the lighter band (p < .05,
after Holm's correction for all marks): the variant moves the accuracy by more than another wording does. White marks
may be within the spread. Small triangles are
the changes of the best and of the worst template alone, which may be another template than in FP32; they are chosen
after the fact and have no interval. Means over models, scopes, seeds and those clean sets that have several templates;
the band is averaged over the same models and sets, and its ends are averaged, which is too wide. Whiskers are 95 %
intervals over images, made of replicates; n are the images of a set, on average. Where changes are large, the scale is
logarithmic beyond one point."""
SPREAD, ENDS = "template_spread", {"accuracy_best_template": ("^", 0.24), "accuracy_worst_template": ("v", -0.24)}
WIDE = 4  # points; where changes are larger, the scale is logarithmic beyond one point
GREY, BAND, LIMIT = "#444444", "#c4c4c4", "#e8e8e8"
SMALL = {"color": "#777777", "markersize": 3, "linestyle": ""}
KEYS = ["family", "scheme", "precision"]
SET = ["model", "source", "dataset"]
Means = tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]


@plotting.styled
def figure(rows: Rows, made: Means | None = None, /, *, columns: Literal[1, 2] = 2) -> Figure:
    """Draw changes of accuracy on bands of FP32's spread; raise NothingToDraw without templates taken alone."""
    marks, bands, ends = prepared(rows) if made is None else made
    order = {p: i for i, p in enumerate(frames.ordered_precisions(marks))}
    lines = sorted(marks.select(KEYS).unique().rows(), key=lambda k: (order[k[2]], k))
    sources = sorted(marks["source"].unique())
    across = min(len(sources), 5 if columns == 2 else 3)
    down = -(-len(sources) // across)
    height = 0.8 + down * (0.5 + 0.16 * len(lines))
    fig, axes = plotting.canvas(columns, height, down, across, sharey=True, sharex=True)
    for ax, source in zip(axes.flat, sources, strict=False):
        of = {"source": source}
        _panel(ax, marks.filter(**of), bands.filter(**of).row(0, named=True), ends.filter(**of), lines)
        ax.set_title(
            plotting.counted(plotting.label(source or "all models"), marks.filter(**of)),
            fontsize=8.5 if columns == 2 else 7,
        )
        ax.tick_params(labelbottom=True)
    plotting.hide_rest(axes, len(sources))
    axes[0, 0].set_ylim(len(lines) - 0.4, -0.6)
    _scale(axes[0, 0])
    fig.supxlabel("change of accuracy (points)", fontsize=8)
    _legend(fig, columns)
    return fig


def prepared(rows: Rows, /) -> Means:
    """Return the mean changes, FP32's spreads, and the best and the worst template's changes.

    Raises NothingToDraw without templates taken alone.
    """
    spreads = frames.select(rows, SPREAD).filter(scheme="fp32")
    changes = frames.quantized(frames.select(rows, "accuracy_change")).join(spreads, on=SET, how="semi")
    if changes.is_empty():
        raise NothingToDraw("no clean set has several templates that were taken alone (config word templates_alone)")
    changes = common(changes, frames.VARIANT, ()).rows
    spreads = spreads.join(changes, on=SET, how="semi")  # marks are compared with bands: of the same models and sets
    marks = frames.mean_of_runs(frames.mean_of_sets(changes), ["source", *KEYS])
    bands = frames.mean_of_runs(frames.mean_of_sets(spreads), ["source"])
    marks = _with_beyond(marks, bands)
    ends = _ends(frames.select(rows, list(ENDS)).join(spreads, on=SET, how="semi"))
    return marks, bands, ends.join(marks, on=["source", *KEYS], how="semi")


def _with_beyond(marks: pl.DataFrame, bands: pl.DataFrame) -> pl.DataFrame:
    """Say of each mark whether it is proven to lie beyond its source's band, of all marks together: `beyond`."""
    both = marks.join(bands.select("source", limit="high"), on="source", how="left", maintain_order="left")
    over = both.select((pl.col("value").abs() > pl.col("limit")).fill_null(False)).to_series().to_numpy()
    moved = [pl.col(end) - pl.col("limit") * pl.col("value").sign() for end in ("value", "low", "high")]
    p = np.array([tabling.Change(*cell).p for cell in both.select(*moved, "freedom").iter_rows()])
    p = np.where(over | np.isnan(p), p, 1.0)
    return marks.with_columns(beyond=pl.Series(holm(p) < 0.05))


def _ends(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the mean changes of the best and the worst template from FP32's best and worst."""
    fp32 = frame.filter(scheme="fp32").select(*SET, "measure", was="value")
    both = frames.quantized(frame).join(fp32, on=[*SET, "measure"], how="inner", maintain_order="left")
    sets = both.group_by([*frames.VARIANT, "measure"], maintain_order=True).agg(
        (pl.col("value") - pl.col("was")).mean()
    )
    return sets.group_by(["source", *KEYS, "measure"], maintain_order=True).agg(pl.col("value").mean())


def _panel(
    ax: Axes, marks: pl.DataFrame, band: dict[str, Any], ends: pl.DataFrame, lines: list[tuple[str, ...]]
) -> None:
    """Draw the variants of one source on the band of its FP32 models."""
    limit = band["value"] if band["high"] is None else band["high"]
    for edge, colour in ((limit, LIMIT), (band["value"], BAND)):
        ax.axvspan(-edge * 100, edge * 100, color=colour, linewidth=0, zorder=0)
    plotting.zero(ax, x=True)
    for line in ends.iter_rows(named=True):
        mark, below = ENDS[line["measure"]]
        ax.plot(line["value"] * 100, lines.index(tuple(line[k] for k in KEYS)) - below, marker=mark, **SMALL)
    for line in marks.iter_rows(named=True):
        y, x = lines.index(tuple(line[k] for k in KEYS)), line["value"] * 100
        if line["low"] is not None and line["high"] is not None:
            ax.plot([line["low"] * 100, line["high"] * 100], [y, y], color=GREY, linewidth=0.9)
        ax.plot(x, y, marker="o", color=GREY, markersize=4.5, markerfacecolor=GREY if line["beyond"] else "white")
    ax.set_yticks(
        range(len(lines)), [plotting.label(f"{scheme}  {precision.upper()}") for _, scheme, precision in lines]
    )
    ax.grid(visible=False, axis="y")


def _scale(ax: Axes) -> None:
    """Make the scale logarithmic beyond one point where changes are large."""
    limits = ax.get_xlim()
    if max(map(abs, limits)) > WIDE:
        ax.set_xscale("symlog", linthresh=1, linscale=0.7)
        ax.set_xlim(*(end * 1.5 for end in limits))
        ax.xaxis.set_major_locator(FixedLocator([-100, -10, -1, 0, 1, 10, 100]))
        ax.xaxis.set_major_formatter("{x:g}")


def _legend(fig: Figure, columns: int) -> None:
    """Say what bands and marks are."""
    band = {"linestyle": "-", "linewidth": 6, "solid_capstyle": "butt"}
    mark = {"marker": "o", "color": GREY, "markersize": 4.5}
    entries: list[tuple[str, dict[str, Any]]] = [("spread over FP32's templates", {"color": BAND, **band})]
    entries += [("upper limit of the spread", {"color": LIMIT, **band})]
    entries += [("beyond its upper limit", mark), ("perhaps within", {**mark, "markerfacecolor": "white"})]
    entries += [(f"{name.split('_')[1]} template alone", {"marker": m, **SMALL}) for name, (m, _) in ENDS.items()]
    words = {"ncols": 3} if columns == 2 else plotting.NARROW
    plotting.key(fig, entries, loc="outside upper center", **words)
