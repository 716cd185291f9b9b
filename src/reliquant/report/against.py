"""Whether variants of one table hold what is wished of their difference to those of another table; free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from reliquant.measures.stats import Z95
from reliquant.report import frames
from reliquant.report.averages import spread, table_of
from reliquant.report.bounds import bounds_of_pairs, errors_of
from reliquant.report.common_sets import CELL
from reliquant.report.costs import DEPLOY
from reliquant.report.frames import VARIANT, Rows
from reliquant.report.gate import (
    FAILS,
    HOLDS,
    OPEN,
    Line,
    Selected,
    by_bounds,
    has_interval,
    is_exact,
    is_share,
    lacks,
    means_of,
    one_answer,
    placed,
    places,
    same_variant,
    selected,
)
from reliquant.report.recommend import INSTEAD, Wish

CHANGE = "_change"
RANKED = {  # E x^2 / E x of n times what a flip at a place x moves, drawn from all places in the order of confidences
    "aurc": 2.0,  # x = -log of the share of surer images
    "augrc": 2 / 3,  # x = the share of images that are less sure
    "misclassification_auroc": 0.6,  # x = how far below an AUROC of about 0.9 the image ranks; of one wrong answer
}
RELATIVE = ("accuracy_delta", "mce_to_fp32", "relative_mce_to_fp32", "kl_to_fp32")  # whose error is that of a change
OF_GROUPS = ("worst_group_accuracy", "rsg", "vuln_add")  # of part of the images
OF_WRONG = ("misclassification_auroc",)  # a mean over wrong answers
Named = tuple[str, Rows]  # what a table is called in messages, and its rows


def compares(one: Wish, /) -> bool:
    """Whether a wish is about the difference of two tables, where there are two: its measure ends in _change."""
    return one.measure.endswith(CHANGE)


def differences(
    first: Named, second: Named, one: Wish, pairs: Sequence[pl.DataFrame], /, *, confidence: float
) -> list[Line]:
    """Judge a wish such as `accuracy_change >= -0.01`: the accuracy of the first table less that of the second.

    `pairs` are the variants of the first and their partners in the second, of the same height. What both share of
    photographs moves them together in each resample, so the interval is that of pairs. Raises ValueError naming the
    set where the two do not hold the measure on the same sets and numbers of images.
    """
    of = replace(one, measure=one.measure.removesuffix(CHANGE))
    tables = [_base(table, of) for table in (first, second)]
    of = replace(of, suite=tables[0].cells["suite"][0])
    _require_same_sets([first[0], second[0]], tables)
    found = []
    lacking = [lacks(table, variants) for table, variants in zip(tables, pairs, strict=True)]
    for own, other, *said in zip(*(part.iter_rows(named=True) for part in pairs), *lacking, strict=True):
        start = Line(one.text, of.suite, one.measure, OPEN)
        why = "; ".join(f"{name}: {what}" for (name, _), what in zip((first, second), said, strict=True) if what)
        if why:
            found.append(replace(start, why=why))
            continue
        both = [table.rows.filter(*same_variant(line)) for table, line in zip(tables, (own, other), strict=True)]
        _require_same_images([first[0], second[0]], both, of.measure)
        answer = _one_answer(both[0], of, first[1])
        found.append(_judged(start, one, of, both, answer, confidence))
    return found


def _base(table: Named, of: Wish) -> Selected:
    """Return the rows of the measure of which a wish asks the change; raise ValueError naming the table without it."""
    name, rows = table
    try:
        return selected(rows, placed(rows, of))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _require_same_sets(names: Sequence[str], tables: Sequence[Selected]) -> None:
    """Raise ValueError unless both tables hold a measure on the same cells."""
    cells = [table.cells.select(CELL).unique().sort(CELL) for table in tables]
    for a, b in ((0, 1), (1, 0)):
        lost = cells[a].join(cells[b], on=CELL, how="anti", nulls_equal=True, maintain_order="left")
        if lost.height:
            told = f"{places(lost, cells[a])}: {names[b]} has no rows of it, {names[a]} has"
            raise ValueError(f"{told}; means of other sets are no pair: --dataset names the sets of both")


def _require_same_images(names: Sequence[str], both: Sequence[pl.DataFrame], measure: str) -> None:
    """Raise ValueError unless the rows of two variants are of the same number of images on each cell."""
    joined = both[0].join(both[1], on=CELL, how="inner", suffix="_less", nulls_equal=True, maintain_order="left")
    other = joined.filter(pl.col("n").ne_missing(pl.col("n_less")) & (pl.col("suite") != DEPLOY))  # n there: rounds
    if other.height:
        line = other.row(0, named=True)
        told = f"{line['n']} in {names[0]} and {line['n_less']} in {names[1]}"
        raise ValueError(f"{line['dataset'] or measure}: the images of {measure} are {told}: not the same, so no pair")


def _judged(start: Line, one: Wish, of: Wish, both: Sequence[pl.DataFrame], answer: float, confidence: float) -> Line:
    """Judge the difference of two variants' means over the same cells, of which one `answer` moves it by so much."""
    own, other = (means_of(rows, rows.head(1)).row(0, named=True) for rows in both)
    line = replace(start, value=own["value"] - other["value"], n=own["n"], sets=own["sets"] or "")
    replicates = [table_of(means_of(rows, rows.head(1)))[0] for rows in both]
    error = float(spread((replicates[0] - replicates[1])[None])[0])
    assert line.value is not None
    if np.isfinite(error) and (error > 0 or answer):
        ends = bounds_of_pairs(line.value, error, answer, confidence=confidence)
        return by_bounds(replace(line, how="paired"), one, *ends)
    if np.isfinite(error):
        return replace(line, why="both are the same in every resample, so how they differ elsewhere is not known")
    if is_exact(of):
        return replace(line, verdict=HOLDS if one.met(line.value) else FAILS, how="exact")
    if all(has_interval(mean["value"], mean["low"], mean["high"]) for mean in (own, other)):
        wide = sum(mean["high"] - mean["low"] for mean in (own, other)) / 2 / Z95 * errors_of(confidence)
        told = by_bounds(replace(line, how="widths added"), one, line.value - wide, line.value + wide)
        kept = f"{of.measure} keeps no replicates here, so the two intervals are added: wide, not paired"
        return replace(told, why="; ".join(filter(None, [told.why, kept])))
    instead = INSTEAD.get(of.measure)
    return replace(line, why=f"{of.measure} has no interval" + (f"; wish for {instead}_change" if instead else ""))


def _one_answer(rows: pl.DataFrame, of: Wish, whole: Rows) -> float:
    """Return by how much one answer that differs moves the mean of a measure over cells of sets; 0 where not known.

    Of a share it is 1 / n of a cell. Of another measure it is as many times that as its own error is the accuracy's on
    the same sets: both vary from image to image mostly with whether the answer is right. What rests on the order of
    confidences is moved more by an answer of which the model was sure (`RANKED`).
    """
    share = one_answer(rows)
    if is_share(of.measure) or not share:
        return share
    accuracy = frames.select(whole, "accuracy", suite=of.suite) if of.suite else rows.clear()
    same = accuracy.join(rows, on=[*VARIANT, *CELL[:5]], how="semi", nulls_equal=True, maintain_order="left")
    if same.is_empty():
        return 0.0
    own, plain = (means_of(part, part.head(1)).row(0, named=True) for part in (rows, same))
    if not all(has_interval(mean["value"], mean["low"], mean["high"]) for mean in (own, plain)):
        return 0.0
    times = (own["high"] - own["low"]) / (plain["high"] - plain["low"])
    wrong, right = max(1 - plain["value"], share), max(plain["value"], share)
    least = RANKED.get(of.measure, 0.0) / (wrong if of.measure in OF_WRONG else 1.0)
    if of.measure in RELATIVE:
        least = 1 / right
    if of.measure in OF_GROUPS:  # an error grows with the root of n / n of the part, an answer's size with the whole
        least = max(times**2, 1.0)
    return share * max(times, least)
