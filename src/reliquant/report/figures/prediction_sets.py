"""Prediction sets: the coverage that was asked for, the coverage that was reached, and how large the sets are."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reliquant.report import frames, plotting
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Does quantization break a guarantee that was set up in FP32?"
QUESTION, PLACE = "calibration", 4
READ = """Conformal prediction sets promise to hold the true class of 95 or 90 % of the images (dashed line). Full
circles have the threshold that FP32's clean images set, white diamonds that of the variant's own, the square is FP32
itself. Where circles and their whiskers leave the line on clean images, quantization broke the guarantee; where
diamonds stay, a new threshold mends it. On shifted and corrupted images FP32 has lost it already: what circles and
diamonds differ from the square is what quantization adds. The last row is the price, the mean number of classes in a
set. Marks are means over models, methods, scopes, seeds and sets (of corruptions, over all and their severities);
short grey lines are single variants with FP32's threshold, means over sets. Whiskers are 95 % intervals over
calibration and test images: bold ones are made of replicates; of thin ones the ends of single intervals are averaged,
which is too wide for a mean. n are the test images of a set, on average. Each panel has a scale of its own; the table
has the paired changes of each family."""
SUITES = {"clean": "clean", "shift": "shifted", "noise": "corrupted"}
LEVELS = ("95", "90")
GREY, PALE = "#444444", "#9a9a9a"
Means = tuple[dict[str, pl.DataFrame], dict[str, pl.DataFrame]]
WHOSE = {  # whose clean images set the threshold: label, mark, its fill, its line, on which side it stands
    "fp32": ("threshold of FP32", "o", GREY, "-", -1),
    "own": ("threshold of the variant", "D", "white", (0, (1, 1)), 1),
}


@plotting.styled
def figure(rows: Rows, made: Means | None = None, /, *, columns: Literal[1, 2] = 2) -> Figure:
    """Draw coverage at each level, and size, over precisions; raise NothingToDraw without prediction sets."""
    runs, means = prepared(rows) if made is None else made
    known = {name for part in means.values() for name in part["measure"]}
    levels = [level for level in LEVELS if any(f"_coverage_{level}_" in name for name in known)]
    sized = any("_size_" in name for name in known)
    down = len(levels) + sized
    fig, axes = plotting.canvas(columns, 0.8 + 1.45 * down, down, len(runs), sharex=True)
    precisions = frames.ordered_precisions(pl.concat(runs.values()))
    names = [p.upper() for p in precisions]
    for across, (suite, part) in enumerate(means.items()):
        axes[0, across].set_title(plotting.counted(SUITES[suite], part), fontsize=8.5 if columns == 2 else 7)
        for ax, level in zip(axes[:, across], levels, strict=False):
            ax.axhline(float(level), color=plotting.INK, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
            _variants(ax, runs[suite].filter(measure=f"conformal_coverage_{level}_fp32"), precisions)
            _means(ax, part, f"coverage_{level}", precisions, 100, columns)
        for level in levels if sized else ():
            _means(axes[-1, across], part, f"size_{level}", precisions, 1, columns)
        axes[-1, across].set_xticks(
            range(len(names)),
            [plotting.label(name) for name in names],
            rotation=90 if len(names) > 3 * columns - 1 else 0,
        )
        axes[-1, across].set_xlim(-0.5, len(names) - 0.5)
    for ax, level in zip(axes[:, 0], levels, strict=False):
        ax.set_ylabel(f"coverage (%)\n{level} % asked")
    if sized:
        axes[-1, 0].set_ylabel("classes in a set\n" + " above ".join(f"{level} %" for level in levels))
    fig.align_ylabels(axes[:, 0])
    _legend(fig, columns)
    return fig


def prepared(rows: Rows, /) -> Means:
    """Return by suite the means of variants, and over variants; raise NothingToDraw without prediction sets."""
    runs = {suite: _runs(rows, suite) for suite in SUITES}
    runs = {suite: part for suite, part in runs.items() if not frames.quantized(part).is_empty()}
    if not runs:
        raise NothingToDraw("the records hold no counts of classes, from which prediction sets follow")
    return runs, {suite: frames.mean_of_runs(part, ["measure", "precision"]) for suite, part in runs.items()}


def _runs(rows: Rows, suite: str) -> pl.DataFrame:
    """Return coverage and size of each variant at each level and threshold, means over sets."""
    cells = [f"conformal_{of}_{level}" for of in ("coverage", "size") for level in LEVELS]
    measures = [f"{cell}_{whose}" for cell in cells for whose in WHOSE]
    return frames.mean_of_sets(frames.select(rows, measures, suite=suite))


def _means(ax: Axes, means: pl.DataFrame, cell: str, precisions: list[str], factor: int, columns: int) -> None:
    """Draw what a measure is at each precision, for both thresholds; both lines start from FP32."""
    start = means.filter(measure=f"conformal_{cell}_own", precision="fp32")
    for whose, (_, mark, fill, dash, side) in WHOSE.items():
        own = _of_quantized(means, f"conformal_{cell}_{whose}", precisions)
        at = np.array([precisions.index(p) for p in own["precision"]], float) + side * (0.1 if columns == 2 else 0.17)
        line = [*start["value"] * factor, *own["value"] * factor]
        ax.plot(
            [*(precisions.index("fp32") for _ in start["value"]), *at], line, color=PALE, linewidth=0.8, linestyle=dash
        )
        _marks(ax, at, own, factor, fmt=mark, markerfacecolor=fill, color=GREY, markersize=2 + columns)
    at = np.array([precisions.index(p) for p in start["precision"]], float)
    _marks(ax, at, start, factor, fmt="s", color=plotting.INK, markersize=2.5 + columns)


def _of_quantized(means: pl.DataFrame, measure: str, precisions: list[str]) -> pl.DataFrame:
    """Return the means of a measure of quantized variants, most bits first."""
    own = means.filter(pl.col("precision") != "fp32", measure=measure)
    return own.sort(pl.col("precision").replace_strict({p: i for i, p in enumerate(precisions)}, return_dtype=pl.Int64))


def _marks(ax: Axes, at: np.ndarray, part: pl.DataFrame, factor: int, **style: Any) -> None:
    """Draw marks, with bold whiskers where the interval is made of replicates and thin ones where it is not."""
    made = part["replicates"].is_not_null()
    for known, thick in ((made, 1.4), (~made, 0.5)):
        some = part.filter(known)
        ends = plotting.errors(some, factor=factor)
        ax.errorbar(at[known.to_numpy()], some["value"] * factor, yerr=ends, elinewidth=thick, **style)


def _variants(ax: Axes, runs: pl.DataFrame, precisions: list[str]) -> None:
    """Draw a short line for the coverage of each variant."""
    at = [precisions.index(p) - 0.33 for p in runs["precision"]]
    big = runs.height > plotting.BIG
    ax.scatter(at, runs["value"] * 100, marker="_", s=18, linewidth=0.6, color=PALE, rasterized=big, zorder=2)


def _legend(fig: Figure, columns: int) -> None:
    """Say what marks and lines are."""
    entries: list[tuple[str, dict[str, Any]]] = [("asked", {"linestyle": "--", "color": plotting.INK})]
    entries.append(("FP32 itself", {"marker": "s", "color": plotting.INK}))
    for label, mark, fill, dash, _ in WHOSE.values():
        entries.append((label, {"marker": mark, "markerfacecolor": fill, "color": GREY, "linestyle": dash}))
    entries.append(("one variant, FP32's threshold", {"marker": "_", "color": PALE, "markersize": 6}))
    words = {"ncols": 3} if columns == 2 else plotting.NARROW
    plotting.key(fig, entries, loc="outside upper center", **words)
