"""What a newcomer should look at first, in sentences made of the rows alone; free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from reliquant.files.artifacts import UNKNOWN
from reliquant.report import frames
from reliquant.report.frames import Rows

CELL = ["model", "scope"]  # what methods are compared on


def findings(rows: Rows, /) -> list[str]:
    """Say where accuracy falls, which method holds there, and what became of calibration; of what the rows hold.

    A change counts where its 95 % interval leaves out 0. All is of in-distribution sets and the models' own scale.
    """
    told = [where_it_falls(_variants(rows, "accuracy_change")), what_holds(_variants(rows, "accuracy_change"))]
    return [sentence for sentence in [*told, who_knows(_variants(rows, "squared_ce_change"))] if sentence]


def where_it_falls(variants: pl.DataFrame, /) -> str:
    """Say for each scheme from which precision on, or at which, its mean accuracy falls by more than its interval."""
    means = frames.mean_of_runs(variants, ["scheme", "precision"])
    falls, stays = [], []
    for scheme in means["scheme"].unique().sort():
        own = {line["precision"]: line for line in means.filter(scheme=scheme).iter_rows(named=True)}
        ordered = frames.ordered_precisions(means.filter(scheme=scheme))
        below = [p for p in ordered if own[p]["high"] is not None and own[p]["high"] < 0]
        if not below:
            stays.append(f"{scheme} ({', '.join(map(str.upper, ordered))})")
            continue
        rest = f", {100 * own[ordered[-1]]['value']:+.1f} at {ordered[-1].upper()}" if ordered[-1] != below[0] else ""
        all_lower = below == ordered[ordered.index(below[0]) :]
        where = f"from {below[0].upper()} on" if all_lower else f"at {' and '.join(map(str.upper, below))}"
        falls.append(f"{scheme} {where} ({_points(own[below[0]])}{rest})")
    lines = [f"Mean accuracy falls by more than its interval with {'; '.join(falls)}."] if falls else []
    lines += [f"No fall can be told from none with {', '.join(stays)}."] if stays else []
    return " ".join(lines)


def what_holds(variants: pl.DataFrame, /) -> str:
    """Say at which precision methods differ most, on the models and scopes that all of them have there."""
    widest: tuple[float, str] = (0.0, "")
    for precision in frames.ordered_precisions(variants):
        part = variants.filter(precision=precision)
        methods = part["scheme"].n_unique()
        shared = part.group_by(CELL).agg(pl.col("scheme").n_unique()).filter(scheme=methods).select(CELL)
        means = frames.mean_of_runs(part.join(shared, on=CELL, how="semi"), ["scheme"]).sort("value", "scheme")
        if means.height < 2:
            continue
        worst, best = means.row(0, named=True), means.row(-1, named=True)
        apart = None not in (best["low"], worst["high"]) and best["low"] > worst["high"]
        if apart and (gap := best["value"] - worst["value"]) > widest[0]:
            models = shared["model"].n_unique()
            scopes = " and ".join(shared["scope"].unique().sort())
            on = f"{models} {'model' if models == 1 else 'models'}, scope {scopes}"
            said = f"{best['scheme']} keeps most ({_points(best)}), {worst['scheme']} least ({_points(worst)})"
            widest = gap, f"Methods differ most at {precision.upper()}, where {said}; on what all have there: {on}."
    return widest[1]


def who_knows(variants: pl.DataFrame, /) -> str:
    """Say how many variants are calibrated better or worse than FP32 beyond their intervals, and at which precision."""
    if variants.is_empty():
        return ""
    marked = variants.with_columns(better=pl.col("high") < 0, worse=pl.col("low") > 0)
    counts = marked.group_by("precision").agg(pl.len(), pl.col("better", "worse").sum())
    counts = counts.with_columns(share=pl.col("worse") / pl.col("len")).sort("share", "precision", descending=True)
    text = f"Of {variants.height} quantized variants {marked['better'].sum()} are calibrated better than FP32 and "
    text += f"{marked['worse'].sum()} worse, by more than their intervals"
    text += (
        " (squared calibration error; were nothing changed, one in 40 would be better and one in 40 worse by chance)"
    )
    most = counts.row(0, named=True)
    where = f"; most often worse at {most['precision'].upper()}: {most['worse']} of {most['len']}"
    return f"{text}{where if most['worse'] else ''}."


def _variants(rows: Rows, measure: str) -> pl.DataFrame:
    """Return the mean change of each quantized variant over clean sets."""
    changes = frames.quantized(frames.select(rows, measure))
    return frames.mean_of_sets(changes.filter(pl.col("precision") != UNKNOWN))


def _points(mean: Mapping[str, Any]) -> str:
    interval = "" if mean["low"] is None else f" [{100 * mean['low']:+.1f}, {100 * mean['high']:+.1f}]"
    return f"{100 * mean['value']:+.1f} points{interval}"
