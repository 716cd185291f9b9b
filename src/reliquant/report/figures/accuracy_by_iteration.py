"""Figure 4: accuracy during quantization-aware training, one panel per source."""

from __future__ import annotations

from typing import Literal

import polars as pl
from matplotlib.figure import Figure

from reliquant.report import frames, plotting
from reliquant.report.common_sets import common
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Accuracy against training steps"
QUESTION, PLACE = "accuracy", 3
READ = """Each line follows quantization-aware training from its start: mean top-1 accuracy over in-distribution sets,
models and seeds. A line that falls forgets what pre-training knew; one that climbs recovers from few bits. Marks are
precisions, dashes methods. All points of a line are states of one training: those before the last saw learning rates
that had not yet fallen, unless the scheme says `schedule: constant`."""


@plotting.styled
def figure(rows: Rows, /, *, columns: Literal[1, 2] = 2) -> Figure:
    """Draw accuracy against iterations; raise NothingToDraw when no row has an iteration."""
    kept = (pl.col("suite") == "clean") & (pl.col("measure") == "accuracy") & pl.col("iteration").is_not_null()
    accuracies = rows.lazy().filter(kept & pl.col("value").is_finite() & (pl.col("scale") == "native")).collect()
    if accuracies["iteration"].n_unique() < 2:
        raise NothingToDraw("no variant was evaluated on its way (rows with iterations)")
    accuracies = accuracies.with_columns(pl.col(pl.Categorical).cast(pl.String))
    accuracies = common(accuracies, (*frames.VARIANT, "iteration"), ()).rows  # a line joins means of the same sets
    lines = frames.mean_of_runs(accuracies, ["source", "scheme", "precision", "iteration"])
    sources, precisions = sorted(lines["source"].unique()), frames.ordered_precisions(lines)
    schemes, looks = sorted(lines["scheme"].unique()), plotting.looks(rows)
    fig, axes = plotting.canvas(columns, 2.9, 1, len(sources), sharey=True, sharex=True)
    dashes = ["-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1))]
    marks = dict(zip(precisions, plotting.MARKERS * len(precisions), strict=False))
    for ax, source in zip(axes.flat, sources, strict=True):
        for (scheme, precision), part in lines.filter(source=source).group_by(
            "scheme", "precision", maintain_order=True
        ):
            dash = dashes[schemes.index(scheme) % len(dashes)]
            fill = plotting.tint(looks[source].colour, plotting.shades(precisions)[precision])
            style = {"marker": marks[precision], "markerfacecolor": fill, "color": looks[source].colour}
            ax.plot(part["iteration"], part["value"] * 100, linestyle=dash, **style)
        ax.set_title(plotting.label(source or "all models"))
        ax.set_xlabel("iterations")
    axes[0, 0].set_ylabel("accuracy (%)")
    shades = plotting.shades(precisions)
    entries = [
        (p.upper(), {"marker": marks[p], "color": "#444444", "markerfacecolor": plotting.tint("#444444", shades[p])})
        for p in precisions
    ]
    entries += [(s, {"linestyle": dashes[i % len(dashes)], "color": "#444444"}) for i, s in enumerate(schemes)]
    plotting.key(fig, entries, loc="outside upper center", ncols=min(len(entries), 3 * columns))
    return fig
