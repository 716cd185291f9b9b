"""Which variants to deploy: those that meet all wishes and lie on the Pareto front, and how surely; free of torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant.files.artifacts import KEPT
from reliquant.report import frames, posterior, searches
from reliquant.report.averages import table_of
from reliquant.report.common_sets import named, some_of
from reliquant.report.costs import DEPLOY, costs_of, of_tower
from reliquant.report.costs import wished as wished_of_files
from reliquant.report.frames import VARIANT, Rows
from reliquant.study.config import RETRIEVAL, SUITES

BOUND = r"\s*(?P<sign><=?|>=?)\s*(?P<number>[-+]?[\d.]+(?:e-?\d+)?)\s*"
CHANGES = ("_change", "_delta", "vuln_add")  # how measures end that are 0 where nothing changes
INSTEAD = {  # measures as published, and those like them that have intervals
    "ece": "squared_ce",
    "ece_change": "squared_ce_change",
    "ece_relative_change": "squared_ce_change",
}


@dataclass(frozen=True)
class Wish:
    """A bound on a measure of a suite: at least (sign 1) or at most (sign -1); `text` is how it was written.

    Of the suite retrieval `direction` and stored `form` may be named; "" is what `searches.wished` takes then. Of the
    suite deploy `direction` is the tower.
    """

    suite: str
    measure: str
    sign: int
    bound: float
    text: str
    direction: str = ""
    form: str = ""
    strict: bool = False  # written with < or >, so that the bound itself does not meet it

    def met(self, value: float) -> bool:
        """Whether a value meets the wish."""
        beyond = (value - self.bound) * self.sign
        return beyond > 0 or (beyond == 0 and not self.strict)


def wish(text: str, /) -> Wish:
    """Read a wish such as `squared_ce_change <= 0` (of the clean suite) or `ood:auroc_change >= 0`.

    Of the suite retrieval a direction and a stored form may stand before the measure, as in
    `retrieval:text_to_image:int8:recall_at_1_change >= -0.01`. What `reliquant time` measured of exported files is
    named as a cost is, such as `latency <= 5` or `text:file_bytes <= 20000000`, with or without `deploy:` before it.
    Raises ValueError for anything else.

    >>> wish("ood:auroc_change >= 0").measure
    'auroc_change'
    """
    of_file = re.fullmatch(r"\s*(?:deploy:)?(?:(image|text):)?(\w+)(.*)", text)
    named_so = wished_of_files(of_file[1] or "", of_file[2]) if of_file else None
    if of_file and named_so:
        bound = re.fullmatch(BOUND, of_file[3])
        if bound:
            return _bounded(DEPLOY, named_so[1], bound, text, named_so[0])
    match = re.fullmatch(rf"\s*(?:(\w+):((?:[\w.-]+:){{0,2}}))?(\w+){BOUND}", text)
    suite, known = (match and match[1]) or "clean", (*SUITES, RETRIEVAL)
    if not match or suite not in known or (match[2] and suite != RETRIEVAL):
        raise ValueError(
            f"wish {text!r} must read [suite:]measure <= number; suites are {', '.join(known)}; of exported"
            f" files wish for latency, memory, file_bytes or another measure of `reliquant time`"
        )
    narrower = [word for word in (match[2] or "").split(":") if word]
    directions = [word for word in narrower if word in searches.DIRECTIONS]
    forms = [word for word in narrower if word not in searches.DIRECTIONS]
    if len(directions) > 1 or len(forms) > 1:
        told = f"one of {', '.join(searches.DIRECTIONS)} and one stored form"
        raise ValueError(f"wish {text!r}: retrieval: takes at most {told}, not {' and '.join(narrower)}")
    return _bounded(suite, match[3], match, text, "".join(directions), "".join(forms))


def _bounded(suite: str, measure: str, match: re.Match[str], text: str, direction: str, form: str = "") -> Wish:
    """Return a wish with the sign and the number that a match of BOUND found."""
    sign, strict = 1 if match["sign"][0] == ">" else -1, match["sign"] in "<>"
    return Wish(suite, measure, sign, float(match["number"]), text.strip(), direction, form, strict)


def recommend(
    rows: Rows, wishes: Sequence[str], /, *, cost: str = "bytes", draws: int = 1000, seed: int = 0
) -> pl.DataFrame:
    """Return the variants that meet every wish and that no other beats in cost and in all wished measures at once.

    Columns: the variant, its cost, each wish's value with low and high, `confidence`, `why`, `sets` and `note`.
    Confidence is the chance that the variant meets the wishes and lies on the front: its share of so many draws from
    the posterior of all variants (`posterior.draws`). It is null, and `why` says so, where a wished measure has no
    interval. All variants are compared on the same `sets`; `note` says which variants and sets are left out for that
    (see `left_out`). Smallest cost first. The frame is empty when none meets the wishes. Raises ValueError when the
    rows lack a measure, or no variant has all.
    """
    return judged(rows, wishes, cost=cost, draws=draws, seed=seed).filter(why_not="").drop("why_not")


def judged(
    rows: Rows, wishes: Sequence[str], /, *, cost: str = "bytes", draws: int = 1000, seed: int = 0
) -> pl.DataFrame:
    """Return every variant that can be judged as `recommend` does, with `why_not`, which is empty for its answers.

    `why_not` says the value and the wish that it does not meet, or names a recommended variant that beats it: one
    that costs no more and is no worse in any wish.
    """
    asked = _asked(wishes)
    table, note = _table(rows, asked, cost)
    price = table["cost"].to_numpy()
    value = np.stack([table[w.text].to_numpy() for w in asked], axis=1)
    unknown = np.stack([~_known(table, w) for w in asked], axis=1)
    confidence = np.full(len(price), np.nan)
    if not unknown.all(axis=0).any():
        drawn = posterior.draws(_estimates(table, asked), np.random.default_rng(seed), number=draws)
        drawn = drawn.reshape(-1, len(asked), len(price)).transpose(0, 2, 1)
        confidence = np.mean([_chosen(price, one, asked) for one in drawn], axis=0)
    confidence[unknown.any(axis=1)] = np.nan
    why = [_why([w for w, no in zip(asked, line, strict=True) if no]) for line in unknown]
    table = table.drop(f"replicates {i}" for i in range(len(asked)))
    said = {"confidence": pl.Series(confidence, nan_to_null=True), "why": pl.Series(why, dtype=pl.String)}
    table = table.with_columns(**said).select(pl.exclude("sets"), "sets", note=pl.lit(note))
    table = table.with_columns(why_not=pl.Series(_why_not(table.select(VARIANT), price, value, asked), dtype=pl.String))
    return table.sort("cost", "confidence", descending=[False, True], nulls_last=True)


def left_out(rows: Rows, wishes: Sequence[str], /, *, cost: str = "bytes") -> str:
    """Say which variants and sets a recommendation leaves out, and why; empty where it leaves out none.

    A variant without the cost or a wished measure cannot be judged; one that lacks a set that the others have would be
    compared by another mean than they.
    """
    return _table(rows, _asked(wishes), cost)[1]


def _asked(wishes: Sequence[str]) -> list[Wish]:
    """Read the wishes, each once; raise ValueError where there is none."""
    asked = [wish(text) for text in wishes]
    if not asked:
        raise ValueError("there is no wish; give at least one, such as 'squared_ce_change <= 0'")
    return list({one.text: one for one in asked}.values())


def _table(rows: Rows, asked: Sequence[Wish], cost: str) -> tuple[pl.DataFrame, str]:
    """Return the variants that have the cost and all wished measures on the same sets, and what was left out.

    Columns: the variant, cost, of each wish its value, low, high and `replicates <number>`, and `sets`.
    """
    found = {cost: _means(costs_of(rows, cost))}
    found |= {_name(one): _values(rows, one.suite, one.measure, one) for one in asked}
    table = found[cost][1].select(*VARIANT, cost="value")
    for i, one in enumerate(asked):
        columns = {one.text: "value", f"{one.text}_low": "low", f"{one.text}_high": "high"}
        part = found[_name(one)][1].select(*VARIANT, **columns, **{f"replicates {i}": "replicates"})
        table = table.join(part, on=list(VARIANT), how="inner", maintain_order="left")
    left = [f"{name}: {means['left'][0]}" for name, (_, means) in found.items() if means["left"][0]]
    note = "; ".join([*filter(None, [_lacking(rows, {name: have for name, (have, _) in found.items()})]), *left])
    if table.is_empty():
        why = f" on the same sets ({note})" if note else ""
        raise ValueError(f"no quantized variant has the cost and every wished measure{why}")
    sets = [f"{name} {means['how'][0]}on {means['sets'][0]}" for name, (_, means) in found.items() if means["sets"][0]]
    return table.with_columns(sets=pl.lit("; ".join(sets))), note


def _name(one: Wish) -> str:
    """Name the measure of a wish as it is written."""
    words = (
        [] if one.suite == "clean" else [one.direction] if one.suite == DEPLOY else [one.suite, one.direction, one.form]
    )
    return ":".join([*filter(None, words), one.measure])


def _lacking(rows: Rows, found: Mapping[str, pl.DataFrame]) -> str:
    """Say which quantized variants of the rows have no value of a measure, from those that have each."""
    finished = rows.lazy().filter(pl.col("iteration").is_null()).select(VARIANT).unique().collect()
    every = frames.quantized(finished.with_columns(pl.col(pl.Categorical).cast(pl.String))).sort(VARIANT)
    lacks: dict[tuple[object, ...], list[str]] = {}
    for name, have in found.items():
        for variant in every.join(have, on=list(VARIANT), how="anti").rows():
            lacks.setdefault(variant, []).append(name)
    if not lacks:
        return ""
    places = every.with_row_index("place").filter(pl.Series([variant in lacks for variant in every.rows()]))["place"]
    who = named(every)
    told = [f"{who[i]} (no {', '.join(lacks[every.row(i)])})" for i in places]
    return f"{len(told)} of {every.height} variants left out, without a value: {some_of(told)}"


def _values(rows: Rows, suite: str, measure: str, one: Wish | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the quantized variants that have a measure in a suite, and those on the same sets with their means.

    `how` among the columns of the means says over which directions of search they are.
    """
    how = ""
    if one is not None and suite == RETRIEVAL:
        selected, directions = searches.wished(rows, measure, direction=one.direction, form=one.form)
        how = f"({directions}) "
    else:
        selected = frames.select(rows, measure, suite=suite)
        selected = of_tower(selected, one.direction) if one is not None and suite == DEPLOY else selected
    if selected.is_empty():
        told = ": rows of `reliquant time` have it (--times)" if suite == DEPLOY else ""
        raise ValueError(f"there are no rows of {measure} in the suite {suite}{told}")
    return _means(selected, how)


def _means(selected: pl.DataFrame, how: str = "") -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the quantized variants of rows, and those on the same sets with their means."""
    runs = frames.quantized(selected)
    return runs.select(VARIANT).unique(), frames.mean_of_sets(runs).sort(VARIANT).with_columns(how=pl.lit(how))


def _known(table: pl.DataFrame, one: Wish) -> NDArray[np.bool_]:
    """Return which variants have an interval of a wished measure."""
    return (table[f"{one.text}_low"] < table[f"{one.text}_high"]).fill_null(False).to_numpy()


def _estimates(table: pl.DataFrame, asked: Sequence[Wish]) -> posterior.Estimates:
    """Put the values of all wishes one after the other, with what is known of their errors and their groups."""
    parts = []
    for i, one in enumerate(asked):
        value = table[one.text].to_numpy()
        low, high = (table[f"{one.text}_{end}"].cast(pl.Float64).to_numpy() for end in ("low", "high"))
        deviation, alone = posterior.errors(low, high, table_of(table.select(replicates=f"replicates {i}")))
        group = posterior.groups(table["precision"].to_numpy()) + i * (table.height + 1)
        parts.append((value, deviation, alone, group, np.full(len(value), one.measure.endswith(CHANGES))))
    value, deviation, alone, group, change = (np.concatenate(part) for part in zip(*parts, strict=True))
    return posterior.Estimates(value, deviation.reshape(-1, KEPT), alone, group, change)


def _why(without: Sequence[Wish]) -> str:
    """Say why there is no confidence; empty where there is one."""
    said = []
    for one in without:
        instead = INSTEAD.get(one.measure)
        advice = f"; wish for {instead}, which has one" if instead else ""
        said.append(f"{one.measure} has no interval, so how sure this is cannot be told{advice}")
    return "; ".join(said)


def _why_not(
    variants: pl.DataFrame, price: NDArray[np.floating], values: NDArray[np.floating], asked: Sequence[Wish]
) -> list[str]:
    """Say of each variant why it is not chosen; empty for those that are, from prices (n,) and values (n, wishes)."""
    chosen = np.flatnonzero(_chosen(price, values, asked))
    signs = np.array([w.sign for w in asked])
    goods = np.concatenate([-price[:, None], values * signs], axis=1)
    who, said = named(variants), []
    for i, own in enumerate(values):
        failed = [f"{v:.4g}, not {w.text}" for w, v in zip(asked, own, strict=True) if not w.met(v)]
        better = [j for j in chosen if j != i and (goods[j] >= goods[i]).all()]
        beaten = f"beaten by {who[better[0]]}" if better else ""
        said.append("; ".join(failed) or ("" if i in chosen else beaten))
    return said


def _chosen(price: NDArray[np.floating], values: NDArray[np.floating], asked: Sequence[Wish]) -> NDArray[np.bool_]:
    """Return which variants meet every wish and lie on the front, (n,), from prices (n,) and values (n, wishes)."""
    signs = np.array([w.sign for w in asked])
    bounds = np.array([w.bound for w in asked])
    beyond, strict = (values - bounds) * signs, np.array([w.strict for w in asked])
    meets = np.flatnonzero(((beyond > 0) | ((beyond == 0) & ~strict)).all(axis=1))
    goods = np.concatenate([-price[meets, None], values[meets] * signs], axis=1)
    # smallest cost first, then what is best in the first wish: so nothing that is left beats the first
    left = np.lexsort(-goods.T[::-1])
    chosen = np.zeros(len(price), bool)
    while len(left):
        first, left = left[0], left[1:]
        chosen[meets[first]] = True
        beaten = (goods[left] <= goods[first]).all(axis=1) & (goods[left] < goods[first]).any(axis=1)
        left = left[~beaten]
    return chosen
