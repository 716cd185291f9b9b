"""Pareto fronts: size on disk against each measure, and how surely a mark is on the front."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reliquant.report import costs, frames, plotting
from reliquant.report.frames import Rows
from reliquant.report.front import confidence, front
from reliquant.report.plotting import NothingToDraw

TITLE = "What a byte buys"
QUESTION, PLACE = "choice", 1
READ = """Each mark is one variant or FP32 model: share of the FP32 model's bytes on disk against a measure's value
(accuracies, calibration error, AUROC, relative spurious gap), mean over its sets; calibration error is the root of the
debiased squared error. FP32 models are stars. Colour is the source, marks are families of methods. The grey line is the
Pareto front as measured: nothing as small is better. Some of it is luck; a ring says with what chance nothing as small
is better than a mark: its share of draws from a posterior of all true values, made as `recommend` makes it (values of
the same images err together; changes from FP32 are drawn to the mean of their precision, as the best of many was chosen
for its luck). A mark without an interval has no ring."""
PANELS = {  # suite, measure, its change, and whether more is better
    "accuracy (%)": ("clean", "accuracy", "accuracy_change", True),
    "calibration error (%)": ("clean", "squared_ce", "squared_ce_change", False),
    "OOD AUROC (%)": ("ood", "auroc", "auroc_change", True),
    "under noise (%)": ("noise", "accuracy", "accuracy_change", True),
    "shifted (%)": ("shift", "accuracy", "accuracy_change", True),
    "RSG (%)": ("spurious", "rsg", "rsg_change", False),
}
RINGS: dict[float, dict[str, Any]] = {  # least chance of being on the front: how the ring looks
    0.95: {"linewidth": 1.7, "edgecolor": plotting.INK},
    0.5: {"linewidth": 0.8, "edgecolor": plotting.INK},
    0.1: {"linewidth": 0.8, "edgecolor": "#b4b4b4"},
}
GREY = "#9a9a9a"
NARROW = 4  # the largest size over the smallest, below which ticks stand at round numbers
Panels = dict[str, pl.DataFrame]  # name -> points


@plotting.styled
def figure(rows: Rows, made: Panels | None = None, /, *, columns: Literal[1, 2] = 2, cost: str = "bytes") -> Figure:
    """Draw each measure against size, or another cost (`report/costs.py`) such as `latency`.

    Raises NothingToDraw where no variant says the cost.
    """
    panels = prepared(rows, cost) if made is None or cost != "bytes" else made
    looks, marks = plotting.looks(rows), plotting.markers(rows) | {"FP32": "*"}
    across = min(len(panels), 3 if columns == 2 else 2)
    down = -(-len(panels) // across)
    fig, axes = plotting.canvas(columns, 0.9 + 1.75 * down, down, across, sharex=True)
    for ax, (name, points) in zip(axes.flat, panels.items(), strict=False):
        shown = points.with_columns(y=_shown(points["value"], name))
        _draw(ax, shown, front(shown, highest=PANELS[name][3]), looks, marks)
        ax.set_title(name)
    plotting.hide_rest(axes, len(panels))
    fig.supxlabel(_unit(cost), fontsize=8)
    _legend(fig, pl.concat(panels.values()), looks, marks, columns)
    return fig


def prepared(rows: Rows, cost: str = "bytes", /) -> Panels:
    """Return by panel the models with their size, the measure, and `chance`: of being on the front."""
    sizes = _shares(rows) if cost == "bytes" else _costs(rows, cost)
    panels = {}
    for name, (suite, measure, change, highest) in PANELS.items():
        values = frames.mean_of_sets(frames.select(rows, measure, suite=suite))
        points = values.join(sizes, on=list(frames.VARIANT), how="inner")
        if points.height:
            changes = frames.mean_of_sets(frames.quantized(frames.select(rows, change, suite=suite)))
            panels[name] = points.with_columns(chance=confidence(points, changes, highest=highest))
    if not panels:
        raise NothingToDraw("no variant with a known size has a measure")
    return panels


def _shares(rows: Rows) -> pl.DataFrame:
    """Return the variants with their bytes on disk over FP32's."""
    sizes = frames.wide(frames.select(rows, ["bytes", "bytes_fp32"], suite=""))
    if "bytes" not in sizes.columns or "bytes_fp32" not in sizes.columns:
        raise NothingToDraw("no variant's size on disk is known (measures bytes and bytes_fp32)")
    return sizes.select(*frames.VARIANT, size=pl.col("bytes") / pl.col("bytes_fp32") * 100)


def _costs(rows: Rows, cost: str) -> pl.DataFrame:
    """Return the variants with another cost."""
    try:
        found = costs.costs_of(rows, cost)
    except ValueError as error:
        raise NothingToDraw(str(error)) from error
    return frames.mean_of_sets(found).select(*frames.VARIANT, size="value")


def _unit(cost: str) -> str:
    """Say what lies along the horizontal axis."""
    if cost == "bytes":
        return "bytes on disk (% of FP32, log scale)"
    measure = costs.measure_of(cost)[2]
    return f"{costs.UNITS.get(measure, measure)} (log scale)"


def _shown(value: pl.Series, name: str) -> pl.Series:
    """Return the values of a panel in points: of a squared error its root, and 0 where that is below 0."""
    return value.clip(0).sqrt() * 100 if PANELS[name][1] == "squared_ce" else value * 100


def _draw(
    ax: Axes, points: pl.DataFrame, line: pl.DataFrame, looks: dict[str, plotting.Look], marks: dict[str, str]
) -> None:
    """Draw the marks of a panel, the front as measured, and rings."""
    big = points.height > plotting.BIG
    for (source, family), some in points.group_by("source", "family", maintain_order=True):
        style = {"marker": marks[family], "facecolor": looks[source].colour, "edgecolor": "white", "linewidth": 0.4}
        area = (4 if big else 14) * (2.5 if family == "FP32" else 1)
        ax.scatter(some["size"], some["y"], s=area, zorder=3, rasterized=big, **style)
    ax.step(line["size"], line["y"], where="post", color=GREY, linewidth=0.9, zorder=2)
    chance = points["chance"].fill_null(0.0).to_numpy()
    most = np.inf
    for least, ring in RINGS.items():
        sure = points.filter(pl.Series((chance >= least) & (chance < most)))
        ax.scatter(sure["size"], sure["y"], s=38, facecolor="none", zorder=5 + least, **ring)
        most = least
    ax.set_xscale("log", base=2)
    low, high = ax.get_xlim()
    if high < NARROW * low:  # powers of 2 alone would leave one tick or none
        ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter(lambda v, _: f"{v:g}")


def _legend(
    fig: Figure, points: pl.DataFrame, looks: dict[str, plotting.Look], marks: dict[str, str], columns: int
) -> None:
    """Say what colours, marks and rings are."""
    sources, families = (sorted(points[c].unique()) for c in ("source", "family"))
    entries: list[tuple[str, dict[str, Any]]] = []
    for source in sources:
        entries.append((source or "all", {"marker": "o", "color": looks[source].colour}))
    for family in families:
        entries.append((family, {"marker": marks[family], "color": "#444444"}))
    entries.append(("front as measured", {"linestyle": "-", "color": GREY}))
    if points["chance"].is_not_null().any():
        for least, ring in RINGS.items():
            width, colour = ring["linewidth"], ring["edgecolor"]
            style = {"marker": "o", "markerfacecolor": "none", "markeredgecolor": colour, "markeredgewidth": width}
            entries.append((f"on the front: {least * 100:.0f} % and more", {**style, "markersize": 6}))
    plotting.key(fig, entries, loc="outside upper center", ncols=min(len(entries), 4 if columns == 2 else 2))
