"""Refusal: can low confidence still tell wrong answers, and unknown images among shifted ones?"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reliquant.report import frames, plotting
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Does low confidence still tell what to refuse?"
QUESTION, PLACE = "ood", 2
READ = """Changes from FP32 in points, by precision; an arrow says which way is better; marks are families, set
apart sideways only to be seen. AUGRC is the share of all images that are answered wrongly and not refused, averaged
over thresholds of confidence: above zero, more errors pass. AUROC tells OOD sets from clean images, and in the full
spectrum the same sets from clean and shifted images together: below zero, detection got worse; where the full spectrum
falls further, the variant takes shifted images for unknown ones. Means over models, scopes, seeds and sets, of AUROC
over scores too. Whiskers are 95 % intervals over images, made of replicates, which the sets share; they are not
corrected for the number of marks. n are the images of a set, on average; of an OOD set with the known ones."""
PANELS = {  # suite, measure, and which way is better
    "AUGRC, clean": ("clean", "augrc_change", "↓"),
    "AUGRC, shifted": ("shift", "augrc_change", "↓"),
    "AUROC, clean": ("ood", "auroc_change", "↑"),
    "AUROC, full": ("ood", "full_spectrum_auroc_change", "↑"),
}
GREY = "#444444"
PLACED = ["model", "reference", "dataset", "score"]


@plotting.styled
def figure(rows: Rows, made: dict[str, pl.DataFrame] | None = None, /, *, columns: Literal[1, 2] = 2) -> Figure:
    """Draw changes by precision and family, one panel per measure; raise NothingToDraw without any of them."""
    means = prepared(rows) if made is None else made
    every = pl.concat(means.values())
    precisions, families = frames.ordered_precisions(every), sorted(every["family"].unique())
    across = min(len(means), 2)
    down = -(-len(means) // across)
    fig, axes = plotting.canvas(columns, 0.7 + 1.7 * down, down, across)
    marks = plotting.markers(rows)
    looks = {name: (marks[name], "white" if j % 2 else GREY) for j, name in enumerate(families)}
    for ax, (title, part) in zip(axes.flat, means.items(), strict=False):
        _panel(ax, part, precisions, looks, len(precisions) > 3 * columns)
        ax.set_title(plotting.counted(f"{title} {PANELS[title][2]}", part))
    for kind in {title[:5] for title in means}:
        _same_scale([ax for ax, title in zip(axes.flat, means, strict=False) if title.startswith(kind)])
    plotting.hide_rest(axes, len(means))
    fig.supylabel("change (points)", fontsize=8)
    entries: list[tuple[str, dict[str, Any]]] = []
    for name, (mark, fill) in looks.items():
        entries.append((name, {"marker": mark, "markerfacecolor": fill, "color": GREY}))
    plotting.key(fig, entries, loc="outside upper center", ncols=min(len(families), 3 * columns))
    return fig


def prepared(rows: Rows, /) -> dict[str, pl.DataFrame]:
    """Return by panel the mean changes of families; raise NothingToDraw without any of the measures."""
    cells = {title: frames.quantized(frames.select(rows, m, suite=s)) for title, (s, m, _) in PANELS.items()}
    full = cells["AUROC, full"]
    if not full.is_empty():
        cells["AUROC, clean"] = cells["AUROC, clean"].join(full, on=PLACED, how="semi")
    cells = {title: part for title, part in cells.items() if not part.is_empty()}
    if not {"AUGRC, clean", "AUGRC, shifted", "AUROC, full"} & set(cells):
        raise NothingToDraw("no quantized variant has a change of AUGRC or of full-spectrum detection")
    by = ["family", "precision"]
    return {title: frames.mean_of_runs(frames.mean_of_sets(part), by) for title, part in cells.items()}


def _panel(
    ax: Axes, part: pl.DataFrame, precisions: list[str], looks: dict[str, tuple[str, Any]], narrow: bool
) -> None:
    """Draw the families' changes of one measure at each precision."""
    plotting.zero(ax, y=True)
    thick = min(0.2, 0.8 / len(looks))
    for j, (name, (mark, fill)) in enumerate(looks.items()):
        own = part.filter(family=name)
        at = np.array([precisions.index(p) for p in own["precision"]]) + (j - (len(looks) - 1) / 2) * thick
        style = {
            "fmt": mark,
            "color": GREY,
            "markerfacecolor": fill,
            "elinewidth": 0.9,
            "markersize": 4 if len(looks) < 4 else 3,
        }
        ax.errorbar(at, own["value"] * 100, yerr=plotting.errors(own, factor=100), **style)
    ax.set_xticks(range(len(precisions)), [plotting.label(p.upper()) for p in precisions], rotation=90 if narrow else 0)
    ax.set_xlim(-0.5, len(precisions) - 0.5)


def _same_scale(axes: list[Axes]) -> None:
    """Give panels one scale, that of the widest."""
    low, high = zip(*(ax.get_ylim() for ax in axes), strict=True)
    for ax in axes:
        ax.set_ylim(min(low), max(high))
