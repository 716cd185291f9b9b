"""Which classes pay: change of accuracy by class, and by group where a set has a spurious cue."""

from __future__ import annotations

from typing import Literal

import polars as pl
from matplotlib.figure import Figure

from reliquant.report import frames, plotting, tabling
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Which classes pay"
QUESTION, PLACE = "robustness", 3
READ = """Change of accuracy of each class to FP32 on all its images, in points, mean over models, methods and seeds,
one column per precision; the classes that lose most come first (at most 12 per set; as they were chosen for it, they
seem to lose more than on other images). Sets with a spurious cue are shown by group: common has the cue, counter has
not. Stars: * p < .05, ** p < .01, *** p < .001, after Holm's correction for all classes of all sets, shown or not, and
precisions."""
MOST = 12
PATTERN = r"^(?:(.+)_)?class_accuracy_change$"


@plotting.styled
def figure(rows: Rows, /, *, columns: Literal[1, 2] = 2) -> Figure:
    """Draw one heat map per set and group; raise NothingToDraw without rows by class."""
    changes = frames.matching(rows, PATTERN)
    if changes.is_empty():
        raise NothingToDraw("no change of accuracy by class is known (config key explain)")
    changes = changes.with_columns(part=pl.col("measure").str.extract(PATTERN).fill_null(""))
    means = frames.mean_of_runs(changes, ["dataset", "part", "group", "precision"])
    means = means.with_columns(p=tabling.corrected(means))
    panels, precisions = sorted(means.select("dataset", "part").unique().rows()), frames.ordered_precisions(means)
    reach = max(float(means["value"].abs().max()) * 100, 1e-6)
    across = min(len(panels), 2 * columns)
    down = -(-len(panels) // across)
    most = min(MOST, int(means.group_by("dataset", "part").agg(pl.col("group").n_unique())["group"].max()))
    fig, axes = plotting.canvas(columns, 0.55 + down * (0.45 + 0.16 * most), down, across)
    for ax, (dataset, group) in zip(axes.flat, panels, strict=False):
        part = means.filter(dataset=dataset, part=group)
        worst = part.group_by("group").agg(pl.col("value").mean()).sort("value", "group")["group"].to_list()[:MOST]
        for word, precision, value, p in part.select("group", "precision", "value", "p").iter_rows():
            if word in worst:
                x, y, points = precisions.index(precision), worst.index(word), 100 * value
                ax.barh(y, 0.96, 0.92, x - 0.48, color=_shade(points / reach))
                dark = abs(points) > 0.6 * reach
                text = f"{points:+.0f}" if round(points) else "0"
                style = {"ha": "center", "va": "center", "fontsize": 5.5, "color": "white" if dark else plotting.INK}
                ax.text(x, y, text + frames.marked(p), **style)
        ax.set_xticks(range(len(precisions)), [plotting.label(p.upper()) for p in precisions], fontsize=6.5)
        ax.set_yticks(
            range(len(worst)), [plotting.label(w if len(w) < 14 else f"{w[:12]}...") for w in worst], fontsize=6.5
        )
        ax.set_ylim(most - 0.4, -0.6)
        ax.set_xlim(-0.5, len(precisions) - 0.5)
        ax.set_title(
            "{},\n{}".format(*map(plotting.label, (dataset, group))) if group else plotting.label(dataset), fontsize=7
        )
        ax.grid(visible=False)
        ax.tick_params(length=0)
    plotting.hide_rest(axes, len(panels))
    return fig


def _shade(share: float) -> tuple[float, ...]:
    """Return blue for gains, red-orange for losses, stronger for larger ones."""
    return plotting.tint("#2166ac" if share > 0 else "#b2182b", min(1.0, abs(share)))
