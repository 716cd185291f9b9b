"""Engine changes: how far runtimes moved accuracy and calibration from the simulation; free of torch."""

from __future__ import annotations

from typing import Literal

from matplotlib.figure import Figure

from reliquant.report import frames, plotting, what_runs
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "What runtimes changed"
QUESTION, PLACE = "runs", 0
READ = """Change of accuracy (points) and of the squared calibration error (points squared) from the simulation of the
same variant to the runtime that runs its exported file, on the same images, mean over clean sets with 95 % intervals,
which also allow for changed answers that were not seen. The ECE itself has no valid interval of changes. A cross is the
change of the simulation itself when it computes in float64, on images of the first clean set."""
PANELS = {"accuracy": ("accuracy (points)", 100.0), "squared_ce": ("squared calibration error (points²)", 10_000.0)}
COLOURS = ("#0b4f8a", "#e69f00", "#3d7a3d")
APART = 0.22


@plotting.styled
def figure(rows: Rows, /, *, columns: Literal[1, 2] = 2) -> Figure:
    """Draw a panel for each measure, a line for each variant; raise NothingToDraw without exported variants."""
    names = [f"{measure}{what_runs.ENGINE}" for measure in PANELS]
    changes = frames.mean_of_sets(frames.select(rows, names))
    if changes.is_empty():
        raise NothingToDraw("no exported variant was run (config key deploy)")
    doubled = frames.select(rows, [f"{measure}{what_runs.DOUBLED}" for measure in PANELS])
    lines = list(dict.fromkeys(map(what_runs.of_variant, changes.iter_rows(named=True))))
    runtimes = sorted({what_runs.runtime_of(scheme) for scheme in changes["scheme"]})
    across = columns
    fig, axes = plotting.canvas(columns, (0.6 + 0.26 * len(lines)) * (2 // across), 2 // across, across)
    for ax, (measure, (title, factor)) in zip(axes.flat, PANELS.items(), strict=True):
        for place, runtime in enumerate(runtimes):
            off = APART * (place - (len(runtimes) - 1) / 2)
            own = changes.filter(changes["scheme"].str.ends_with(f"@{runtime}"), measure=f"{measure}{what_runs.ENGINE}")
            for line in own.iter_rows(named=True):
                y = lines.index(what_runs.of_variant(line)) + off
                value, style = factor * line["value"], {"color": COLOURS[place % len(COLOURS)]}
                if line["low"] is not None:
                    ax.hlines(y, factor * line["low"], factor * line["high"], linewidth=1.0, **style)
                ax.plot(value, y, plotting.MARKERS[place], markersize=3.5, **style)
        for line in doubled.filter(measure=f"{measure}{what_runs.DOUBLED}").iter_rows(named=True):
            ax.plot(
                factor * line["value"], lines.index(what_runs.of_variant(line)), "x", color=plotting.INK, markersize=3.5
            )
        plotting.zero(ax, x=True)
        ax.set_title(title, fontsize=7)
        ax.set_yticks(range(len(lines)), [plotting.label(line) for line in lines], fontsize=6.5)
        ax.set_ylim(len(lines) - 0.4, -0.6)
        ax.grid(visible=False, axis="y")
    for ax in axes.flat[1:] if across == 2 else ():
        ax.set_yticklabels([])
    marks = [(name, {"marker": plotting.MARKERS[i], "color": COLOURS[i % 3]}) for i, name in enumerate(runtimes)]
    plotting.key(
        fig, [*marks, ("in float64", {"marker": "x", "color": plotting.INK})], loc="outside upper center", ncols=3
    )
    return fig
