"""Fourier heat maps: error with one Fourier wave added to the image, FP32 and quantized (Yin et al. 2019)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from reliquant.report import frames, plotting
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Sensitivity to Fourier waves"
QUESTION, PLACE = "why", 4
READ = """Each cell is the error on images to which one wave was added (norm 4 at 32 x 32 pixels, a random sign per
channel): in the middle slow waves, at the rims fast ones; the middle itself, a constant, is left out. Light is a high
error. Left FP32, then quantized models by precision, mean over models, methods and seeds of a source."""


@plotting.styled
def figure(rows: Rows, /, *, columns: Literal[1, 2] = 2) -> Figure:
    """Draw maps by source and precision; raise NothingToDraw without rows of Fourier waves."""
    waves = frames.select(rows, "fourier_error", suite="explain")
    if waves.is_empty():
        raise NothingToDraw("no model was shown Fourier waves (config key explain, waves)")
    cells = frames.mean_of_runs(frames.mean_of_sets(waves, "group"), ["source", "precision", "group"])
    at = pl.col("group").str.split(",").list.eval(pl.element().cast(pl.Int64))
    cells = cells.with_columns(u=at.list.get(0), v=at.list.get(1), value=pl.col("value") * 100)
    sources, precisions = sorted(cells["source"].unique()), frames.ordered_precisions(cells)
    low, high = float(cells["value"].min()), float(cells["value"].max())
    size = (plotting.WIDTHS[columns] - 1.1) / len(precisions)
    fig, axes = plotting.canvas(
        columns, 0.55 + (size + 0.12) * len(sources), len(sources), len(precisions), sharex=True, sharey=True
    )
    picture = None
    for (i, j), ax in np.ndenumerate(axes):
        grid, steps = _grid(cells.filter(source=sources[i], precision=precisions[j]))
        picture = ax.imshow(grid, cmap="cividis", vmin=low, vmax=high, origin="lower", interpolation="nearest")
        shown = range(0, len(steps), max(1, len(steps) // 4))
        ax.set_xticks(list(shown), [steps[k] for k in shown], fontsize=6)
        ax.set_yticks(list(shown), [steps[k] for k in shown], fontsize=6)
        ax.grid(visible=False)
        ax.set_facecolor("#e8e8e8")
        if i == 0:
            ax.set_title(plotting.label(precisions[j].upper()))
        if j == 0:
            ax.set_ylabel(plotting.label(sources[i] or "all models"))
    fig.colorbar(picture, ax=axes, shrink=0.8, pad=0.02, label="error (%)")
    fig.supxlabel("cycles across the image", fontsize=8)
    return fig


def _grid(cells: pl.DataFrame) -> tuple[np.ndarray, list[int]]:
    """Return the map (v, u) over signed frequencies, each wave at all places where it is the same, and the steps."""
    errors = {(u, v): value for u, v, value in cells.select("u", "v", "value").iter_rows()}
    sizes = {abs(step) for wave in errors for step in wave} | {0}
    steps = sorted(sizes | {-size for size in sizes})
    grid = np.full((len(steps), len(steps)), np.nan)
    for i, v in enumerate(steps):
        for j, u in enumerate(steps):
            grid[i, j] = next((errors[wave] for wave in _same(u, v, max(sizes)) if wave in errors), np.nan)
    return grid, steps


def _same(u: int, v: int, top: int) -> list[tuple[int, int]]:
    """List the signs under which a wave may have been measured; at the largest frequency, `top`, signs say nothing."""
    waves = [(u, v), (-u, -v)]
    if top in (abs(u), abs(v)):
        waves += [(u, v), (u, -v), (-u, -v), (-u, v)]
    if abs(u) == top:
        waves += [(-a, b) for a, b in waves]
    return waves
