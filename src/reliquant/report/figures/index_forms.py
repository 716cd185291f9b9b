"""Recall against bytes a vector: forms in which a library is stored, times precisions of the model."""

from __future__ import annotations

from typing import Literal

import polars as pl
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from reliquant.report import frames, plotting, searches
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Recall against bytes a vector"
QUESTION, PLACE = "search", 3
READ = """What a library may cost and still find: bytes of a stored vector, scales included, against Recall@1, for
each form in which embeddings are stored (marks) and each precision of the model (colours; the darkest is FP32).
Marks further left and no lower are the better buy: bits can be saved in the model, in the index, or in both. Captions
search images on the left, images search captions on the right. Mean over captioned sets, models, methods, scopes and
seeds. Whiskers are 95 % intervals over images with their captions; marks of one form are set apart sideways only to be
seen."""
MEASURE, SIZE, PLAIN = "recall_at_1", "bytes_a_vector", "float32"
COLOUR = "#0b4f8a"


@plotting.styled
def figure(rows: Rows, made: pl.DataFrame | None = None, /, *, columns: Literal[1, 2] = 2) -> Figure:
    """Draw a mark for each form and precision; raise NothingToDraw where no other form than float32 was searched."""
    means = prepared(rows) if made is None else made
    precisions = frames.ordered_precisions(means)
    forms = means.group_by("form").agg(pl.col("bytes").mean()).sort("bytes", "form", descending=[True, False])["form"]
    marks = dict(zip(forms, plotting.MARKERS, strict=False))
    directions = [one for one in reversed(searches.BETWEEN) if one in set(means["group"])]
    fig, axes = plotting.canvas(columns, 2.9 if columns == 2 else 3.1, 1, len(directions), sharey=True)
    share = {p: 1 - 0.75 * i / max(len(precisions) - 1, 1) for i, p in enumerate(precisions)}
    for ax, direction in zip(axes.flat, directions, strict=True):
        for j, precision in enumerate(precisions):
            for form in forms:
                own = means.filter(group=direction, precision=precision, form=form)
                at = own["bytes"].to_numpy() * (1 + 0.05 * (j - (len(precisions) - 1) / 2))
                style = {"marker": marks[form], "color": plotting.tint(COLOUR, share[precision]), "linestyle": ""}
                style |= {"markeredgecolor": plotting.INK, "markeredgewidth": 0.4, "elinewidth": 0.8}
                ax.errorbar(at, own["value"] * 100, yerr=plotting.errors(own, factor=100), **style)
        ax.set_xscale("log", base=2)
        sizes = sorted({round(size) for size in means["bytes"]})
        shown = [size for i, size in enumerate(sizes) if i == 0 or size > 1.2 * sizes[i - 1]]
        ax.set_xticks(shown, [f"{size:,}" for size in shown])
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_title(searches.WORDS[direction])
    axes[0, 0].set_ylabel("Recall@1 (%)")
    fig.supxlabel("bytes a stored vector", fontsize=8)
    entries = [(form, {"marker": marks[form], "color": "#444444", "markersize": 5}) for form in forms]
    for precision in precisions:
        style = {"marker": "s", "color": plotting.tint(COLOUR, share[precision]), "markersize": 5}
        entries.append((precision.upper(), style))
    plotting.key(fig, entries, loc="outside upper center", **(plotting.NARROW | {"ncols": 2 + columns}))
    return fig


def prepared(rows: Rows, /) -> pl.DataFrame:
    """Return mean recalls with bytes a vector by direction, form and precision; raise NothingToDraw without forms."""
    found = frames.cells(rows, [MEASURE, SIZE], suite="retrieval").filter(pl.col("group").is_in(searches.BETWEEN))
    if found.filter(measure=MEASURE)["score"].n_unique() < 2:
        raise NothingToDraw("no library was stored in another form than float32 (the suite retrieval's `indexes`)")
    named = found.with_columns(form=pl.when(pl.col("score") == "").then(pl.lit(PLAIN)).otherwise("score"))
    recalls = frames.mean_of_sets(named.filter(measure=MEASURE).drop("score"), "group", "form")
    means = frames.mean_of_runs(recalls, ["group", "form", "precision"])
    sizes = named.filter(measure=SIZE).group_by("group", "form").agg(bytes=pl.col("value").mean())
    return means.join(sizes, on=["group", "form"], how="inner", maintain_order="left")
