"""Overview of methods and measures: which measures got significantly better or worse."""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from reliquant.report import frames, plotting, tabling
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Which measures got better?"
QUESTION, PLACE = "headline", 2
READ = """One line per method and precision, one column per measure: a triangle pointing up on blue is better than
FP32, one pointing down on orange is worse, both significantly (p < .05 for the mean over models, scopes, seeds and
sets, after Holm's correction for all cells of the figure); a dot is no significant change. The number is the mean
change in points, of calibration (the debiased squared error) in points squared."""
COLUMNS = {
    "accuracy": ("clean", "accuracy_change", 1),
    "calibration": ("clean", "squared_ce_change", -1),
    "Brier": ("clean", "brier_change", -1),
    "OOD AUROC": ("ood", "auroc_change", 1),
    "shifted": ("shift", "accuracy_change", 1),
    "noise": ("noise", "accuracy_change", 1),
    "spurious": ("spurious", "rsg_change", -1),
}
SQUARED = "calibration"
KEYS = ["family", "scheme", "precision"]
BETTER, WORSE, SAME = "#cfe0f0", "#fbdcb0", "#f2f2f2"


@plotting.styled
def figure(rows: Rows, made: pl.DataFrame | None = None, /, *, columns: Literal[1, 2] = 2) -> Figure:
    """Draw the grid of signs; raise NothingToDraw without quantized variants."""
    cells = prepared(rows) if made is None else made
    order = {p: i for i, p in enumerate(frames.ordered_precisions(cells))}
    lines = sorted(cells.select(KEYS).unique().rows(), key=lambda k: (order[k[2]], k))
    names = [n for n in COLUMNS if n in cells["column"]]
    fig, axes = plotting.canvas(columns, 0.6 + 0.2 * len(lines))
    ax = axes[0, 0]
    significant = tabling.corrected(cells) < 0.05
    shown = cells.select(*KEYS, "value", "column").iter_rows()
    for (family, scheme, precision, value, name), known in zip(shown, significant, strict=True):
        x, y, sign = names.index(name), lines.index((family, scheme, precision)), COLUMNS[name][2]
        better = known and value * sign > 0
        number = tabling.number(value, factor=tabling.SQUARES if name == SQUARED else tabling.POINTS, sign=True)
        ax.barh(y, 0.94, 0.9, x - 0.47, color=BETTER if better else WORSE if known else SAME)
        mark = "^" if better else "v" if known else "."
        ax.plot(x - 0.33, y, marker=mark, color=plotting.INK, markersize=3.5, linestyle="")
        ax.text(x + 0.42, y, number, ha="right", va="center", fontsize=6.5 if columns == 2 else 5)
    ax.set_xticks(
        np.arange(len(names)), names, rotation=0 if columns == 2 else 40, ha="center" if columns == 2 else "left"
    )
    ax.xaxis.tick_top()
    ax.set_yticks(range(len(lines)), [plotting.label(f"{s}  {p.upper()}") for _, s, p in lines])
    ax.set_ylim(len(lines) - 0.4, -0.6)
    ax.set_xlim(-0.55, len(names) - 0.45)
    ax.grid(visible=False)
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)
    return fig


def prepared(rows: Rows, /) -> pl.DataFrame:
    """Return the mean changes that the cells show; raise NothingToDraw without quantized variants."""
    parts = []
    for name, (suite, measure, _) in COLUMNS.items():
        changes = frames.quantized(frames.select(rows, measure, suite=suite))
        parts.append(frames.mean_of_runs(frames.mean_of_sets(changes), KEYS).with_columns(column=pl.lit(name)))
    cells = pl.concat(parts)
    if cells.is_empty():
        raise NothingToDraw("no quantized variant has a change to FP32")
    return cells
