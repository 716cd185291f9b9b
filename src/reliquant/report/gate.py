"""Whether variants hold what is wished of them, with an asked confidence, or not, or cannot be told; free of torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Final, Literal

import numpy as np
import polars as pl

from reliquant.measures.limits import limits_of
from reliquant.measures.turns import SHARES
from reliquant.report import frames, searches
from reliquant.report.bounds import bounds, bounds_of_pairs
from reliquant.report.choice import near
from reliquant.report.common_sets import CELL, some_of
from reliquant.report.compare import EXACT
from reliquant.report.costs import DEPLOY, of_tower
from reliquant.report.evidence import more_images
from reliquant.report.frames import VARIANT, Rows
from reliquant.report.recommend import INSTEAD, Wish, wish
from reliquant.study.config import RETRIEVAL

Word = Literal["holds", "fails", "cannot tell"]
HOLDS: Final = "holds"
FAILS: Final = "fails"
OPEN: Final = "cannot tell"
ROUNDING = 1e-9
SIDE = 0.975  # the confidence of each end of an interval of 95 %
CODES: dict[str, int] = {HOLDS: 0, FAILS: 1, OPEN: 2}


@dataclass(frozen=True)
class Line:
    """One wish of one variant: its value, both bounds, images of a set, which sets, and the verdict with its reason.

    `how` is `interval`, `exact` (a count, without chance), of two tables `paired` or `widths added`, or "" where there
    is nothing to judge by. `value` of a wish that compares two tables is the difference.
    """

    wish: str
    suite: str
    measure: str
    verdict: Word
    why: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    sets: str = ""
    how: str = ""


@dataclass(frozen=True)
class Selected:
    """The rows of a measure as a wish means them: `cells` that anything in the table has, and `rows` with a value."""

    cells: pl.DataFrame
    rows: pl.DataFrame


def wishes_of(texts: Sequence[str], /) -> list[Wish]:
    """Read wishes, each once; raise ValueError where one cannot be read, or there is none."""
    if not texts:
        raise ValueError("there is no wish; give at least one, such as 'accuracy_change >= -0.01'")
    return list({one.text: one for one in map(wish, texts)}.values())


def worst(words: Sequence[str], /) -> Word:
    """Return the verdict of several together: fails before cannot tell before holds.

    >>> worst(["holds", "cannot tell", "fails"])
    'fails'
    """
    return FAILS if FAILS in words else OPEN if OPEN in words else HOLDS


def checked(rows: Rows, one: Wish, variants: pl.DataFrame, /, *, confidence: float) -> list[Line]:
    """Judge one wish of each of some variants of rows, in their order.

    `holds`: the bound that is nearer to failing, of this confidence, still meets the wish; `fails`: the other bound
    does not meet it either; `cannot tell`: the wish lies between, or there is no interval, no value, or none on a set
    that others of the table have. Raises ValueError where no row at all is of the measure.
    """
    one = placed(rows, one)
    found = selected(rows, one)
    lacking = lacks(found, variants)
    complete = variants.filter(pl.Series([not said for said in lacking], dtype=pl.Boolean))
    means = means_of(found.rows, complete)
    lines = []
    for line, said in zip(variants.iter_rows(named=True), lacking, strict=True):
        start = Line(one.text, one.suite, one.measure, OPEN)
        if said:
            lines.append(replace(start, why=said))
            continue
        mean = means.filter(*same_variant(line)).row(0, named=True)
        known = {"value": mean["value"], "n": mean["n"], "sets": mean["sets"] or ""}
        answer = one_answer(found.rows.filter(*same_variant(line))) if is_share(plain(one.measure)) else 0.0
        lines.append(_judged(replace(start, **known), one, (mean["low"], mean["high"]), answer, confidence))
    return lines


def _judged(line: Line, one: Wish, ends: tuple[float | None, float | None], answer: float, confidence: float) -> Line:
    """Judge a line with a value by its 95 % interval, or as it is where it is a count.

    Bounds of a share lie half an `answer` further out: so they hold for counts of a few answers, too, as exact ones do
    (Newcombe 1998, method 4), within what a share can be. Those of its change are never nearer than where no answers
    turned but those that the change itself needs, all one way: few that turn do not tell whether others turn back.
    """
    assert line.value is not None
    low, high = ends
    if has_interval(line.value, low, high):
        assert low is not None
        assert high is not None
        if one.suite == DEPLOY:
            return _of_rounds(replace(line, how="interval"), one, low, high, confidence)
        low, high = bounds(line.value, low, high, confidence=confidence)
        if answer and plain(one.measure) != one.measure:
            error = float(np.sqrt(max(abs(line.value) - line.value**2, 0.0) * answer))
            nearest = bounds_of_pairs(line.value, error, answer, confidence=confidence)
            low, high = min(low, nearest[0]), max(high, nearest[1])
        half = answer / 2
        least, most = limits_of(one.measure) or (-inf, inf)
        return by_bounds(replace(line, how="interval"), one, max(low - half, least), min(high + half, most))
    if is_exact(one):
        return replace(line, verdict=HOLDS if one.met(line.value) else FAILS, how="exact")
    if low is not None and high is not None and not low == line.value == high:
        return replace(line, why=f"its interval, {low:g} to {high:g}, is none around {line.value:g}: damaged rows?")
    instead = INSTEAD.get(one.measure)
    if one.suite == DEPLOY and "batch" in one.measure:
        return replace(line, why=f"{one.measure} has no interval: fewer than six rounds, or all alike")
    return replace(line, why=f"{one.measure} has no interval" + (f"; wish for {instead}" if instead else ""))


def _of_rounds(line: Line, one: Wish, low: float, high: float, confidence: float, /) -> Line:
    """Judge a median of rounds: the ends of its interval are two of the rounds, and hold for no more than 97.5 % each.

    They assume no distribution, so that nothing tells where ends of more confidence would lie, or of less.
    """
    if confidence > SIDE:
        return replace(line, why=f"the ends of a median of rounds are of {SIDE:g} each; ask for no more --confidence")
    return by_bounds(line, one, low, high)


def has_interval(value: float, low: float | None, high: float | None, /) -> bool:
    """Whether both ends are numbers that lie around a value, and not both at it."""
    if low is None or high is None:
        return False
    return -inf < low < high < inf and low - ROUNDING <= value <= high + ROUNDING


def by_bounds(line: Line, one: Wish, low: float, high: float, /) -> Line:
    """Judge a line by its two bounds."""
    met = {one.met(low), one.met(high)}
    word: Word = OPEN if len(met) > 1 else HOLDS if True in met else FAILS
    why = f"{one.bound:g} lies between the bounds{_enough(line, one, low, high)}" if word == OPEN else ""
    return replace(line, low=low, high=high, verdict=word, why=why)


def _enough(line: Line, one: Wish, low: float, high: float) -> str:
    """Say how many images of a set would tell, if the value stayed what it is: widths fall with the root of n."""
    assert line.value is not None
    away = line.value - one.bound
    side = line.value - low if away > 0 else high - line.value
    what = "rounds" if one.suite == DEPLOY else "images a set"
    images = more_images(line.n or 0, abs(away) / side) if side > 0 else None
    return f"; about {images:,} {what} would tell, if the value stays" if images else ""


def is_share(measure: str, /) -> bool:
    """Whether a measure is a share of answers."""
    to_fp32 = re.sub(
        "^(engine|float64)_", "", measure
    )  # engine_agreement is to the simulation what agreement is to FP32
    return to_fp32 in SHARES or re.fullmatch(r"recall_at_\d+", measure) is not None


def plain(measure: str, /) -> str:
    """Return the measure whose change a measure is, from FP32, the simulation or to float64; or itself.

    >>> plain("accuracy_engine_change"), plain("accuracy_change"), plain("agreement")
    ('accuracy', 'accuracy', 'agreement')
    """
    return re.sub("(_engine|_float64)?_change$", "", measure)


def one_answer(rows: pl.DataFrame, /) -> float:
    """Return by how much one answer moves the mean of a share over the cells of sets; 0 where n is not known."""
    if rows.is_empty() or rows["n"].null_count() or not (rows["n"] > 0).all():
        return 0.0
    cells = pl.len().over("dataset") * pl.col("dataset").n_unique()
    return float(rows.select((1 / (pl.col("n") * cells)).max()).item())


def is_exact(one: Wish, /) -> bool:
    """Whether a measure is a count or share of a variant itself, which no other images would change."""
    row = pl.DataFrame({"suite": [one.suite], "measure": [one.measure]})
    return bool(row.select(EXACT).item())


def placed(rows: Rows, one: Wish, /) -> Wish:
    """Return a wish in the suite where its measure is: that it names, or none for what is of a variant itself (bytes).

    Raises ValueError for a measure that no row of the suite has, naming those that are near.
    """
    of_name = rows.lazy().filter((pl.col("measure") == one.measure) & pl.col("iteration").is_null())
    there = of_name.select(pl.col("suite", "scale").cast(pl.String)).unique().collect()
    native = set(there.filter(scale="native")["suite"])
    if one.suite in native:
        return one
    if one.suite == DEPLOY:
        raise ValueError(f"{one.text!r}: there are no rows of {one.measure}; `reliquant time --rows` makes them")
    if ":" not in one.text and "" in native:
        return replace(one, suite="")
    other = sorted(filter(None, native))
    scales = sorted(set(there.filter(suite=one.suite)["scale"]))
    where = pl.col("suite").is_in([one.suite, ""] if ":" not in one.text else [one.suite])
    own = rows.lazy().filter(where).select(pl.col("measure").cast(pl.String).unique()).collect()["measure"].to_list()
    told = f"{one.text!r}: there are no rows of {one.measure} in the suite {one.suite}"
    if other:
        raise ValueError(f"{told}; it is in {', '.join(other)}: wish for {other[0]}:{one.measure}")
    if scales:
        raise ValueError(f"{told} at the model's own logit scale; they are of {', '.join(scales)}, of which none asks")
    raise ValueError(f"{told}; {near(one.measure, own) if own else 'it has no rows at all'}")


def selected(rows: Rows, one: Wish, /) -> Selected:
    """Return the rows of a wish's measure: those with a value, and the cells that any variant or FP32 has."""
    of_measure = rows.lazy().filter((pl.col("measure") == one.measure) & (pl.col("suite") == one.suite))
    every = of_measure.with_columns(own=pl.col("value"), value=pl.lit(0.0))  # what is undefined is a cell, too
    if one.suite == RETRIEVAL:
        cells = searches.wished(every, one.measure, direction=one.direction, form=one.form)[0]
    else:
        cells = frames.select(every, one.measure, suite=one.suite)
    if one.suite == DEPLOY:
        cells = of_tower(cells, one.direction)
    if cells.is_empty():
        tower = f" of the {one.direction} tower" if one.suite == DEPLOY else ""
        raise ValueError(f"{one.text!r}: there are no rows of {one.measure}{tower} in the suite {one.suite}")
    known = cells.filter(pl.col("own").is_finite()).with_columns(value=pl.col("own"))
    return Selected(cells.drop("own"), known.drop("own"))


def lacks(found: Selected, variants: pl.DataFrame, /) -> list[str]:
    """Say of each variant on which cells of the table it was not measured or has no value; empty where on none."""
    cells = found.cells.select(CELL).unique().sort(CELL)
    said = []
    for line in variants.iter_rows(named=True):
        own, measured = (part.filter(*same_variant(line)).select(CELL) for part in (found.rows, found.cells))
        absent = cells.join(measured, on=CELL, how="anti", nulls_equal=True, maintain_order="left")
        undefined = measured.join(own, on=CELL, how="anti", nulls_equal=True).sort(CELL)
        told = [("was not measured", absent), ("has no value", undefined)]
        said.append("; ".join(f"{what}{_on(places(lost, cells))}" for what, lost in told if lost.height))
    return said


def places(cells: pl.DataFrame, of: pl.DataFrame, /) -> str:
    """Name cells: a set, and what else tells the cells `of` a table apart; empty for what is of no set."""
    apart = [name for name in CELL if name == "dataset" or of[name].n_unique() > 1]
    lines = [dict.fromkeys(map(str, filter(None, line))) for line in cells.select(apart).rows()]  # each word once
    return some_of([" ".join(line) for line in lines if line])


def _on(named: str) -> str:
    return f" on {named}" if named else ""


def means_of(found: pl.DataFrame, variants: pl.DataFrame, /) -> pl.DataFrame:
    """Return the mean over sets of each variant that has all cells: value, low, high, n, sets, replicates."""
    own = found.join(variants, on=list(VARIANT), how="semi", nulls_equal=True, maintain_order="left")
    return frames.mean_of_sets(own) if own.height else own


def same_variant(line: dict[str, Any], /) -> list[pl.Expr]:
    """Return the conditions that a row is of a variant."""
    return [pl.col(word).eq_missing(pl.lit(line[word])) for word in VARIANT]
