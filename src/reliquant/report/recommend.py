"""Which variants to deploy: those that meet all wishes and lie on the Pareto front, and how surely; free of torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant.report import frames
from reliquant.report.frames import VARIANT, Rows
from reliquant.report.verdict import Z
from reliquant.study.config import SUITES


@dataclass(frozen=True)
class Wish:
    """A bound on a measure of a suite: at least (sign 1) or at most (sign -1); `text` is how it was written."""

    suite: str
    measure: str
    sign: int
    bound: float
    text: str


def wish(text: str, /) -> Wish:
    """Read a wish such as `ece_change <= 0` (of the clean suite) or `ood:auroc_change >= 0`.

    Raises ValueError for anything else.

    >>> wish("ood:auroc_change >= 0").measure
    'auroc_change'
    """
    match = re.fullmatch(r"\s*(?:(\w+):)?(\w+)\s*(<=?|>=?)\s*([-+]?[\d.]+(?:e-?\d+)?)\s*", text)
    if not match or (match[1] or "clean") not in SUITES:
        raise ValueError(f"wish {text!r} must read [suite:]measure <= number; suites are {', '.join(SUITES)}")
    return Wish(match[1] or "clean", match[2], 1 if match[3][0] == ">" else -1, float(match[4]), text.strip())


def recommend(
    rows: Rows, wishes: Sequence[str], /, *, cost: str = "bytes", draws: int = 1000, seed: int = 0
) -> pl.DataFrame:
    """Return the variants that meet every wish and that no other beats in cost and in all wished measures at once.

    Columns: the variant, its cost, each wish's value with low and high, and `confidence`: the share of draws, from each
    value's normal approximation given its interval, in which the variant met the wishes and lay on the front. Smallest
    cost first. The frame is empty when none meets them. Raises ValueError when the rows lack a measure.
    """
    asked = [wish(w) for w in wishes]
    if not asked:
        raise ValueError("there is no wish; give at least one, such as 'ece_change <= 0'")
    costs = frames.quantized(_values(rows, "", cost))
    table = costs.rename({cost: "cost"}).drop(f"{cost}_low", f"{cost}_high")
    for one in asked:
        values = frames.quantized(_values(rows, one.suite, one.measure))
        columns = {one.measure + end: one.text + end for end in ("", "_low", "_high")}
        table = table.join(values.rename(columns), on=list(VARIANT), how="inner", maintain_order="left")
    if table.is_empty():
        raise ValueError("no quantized variant has the cost and every wished measure")
    price = table["cost"].to_numpy()
    mean = np.stack([table[w.text].to_numpy() for w in asked], axis=1)
    ends = [(table[f"{w.text}_high"] - table[f"{w.text}_low"]).fill_null(0.0).to_numpy() for w in asked]
    error = np.stack(ends, axis=1) / (2 * Z)
    rng = np.random.default_rng(seed)
    drawn = [_chosen(price, mean + error * rng.standard_normal(mean.shape), asked) for _ in range(draws)]
    table = table.with_columns(confidence=pl.Series(np.mean(drawn, axis=0)))
    return table.filter(pl.Series(_chosen(price, mean, asked))).sort(
        "cost", pl.col("confidence"), descending=[False, True]
    )


def _values(rows: Rows, suite: str, measure: str) -> pl.DataFrame:
    """Return each variant's mean of a measure over the sets of a suite, with low and high."""
    selected = frames.select(rows, measure, suite=suite)
    if selected.is_empty():
        raise ValueError(f"there are no rows of {measure} in the suite {suite or '(none)'}")
    return frames.wide(frames.mean_of_sets(selected))


def _chosen(price: NDArray[np.floating], values: NDArray[np.floating], asked: Sequence[Wish]) -> NDArray[np.bool_]:
    """Return which variants meet every wish and lie on the front, (n,), from prices (n,) and values (n, wishes)."""
    signs = np.array([w.sign for w in asked])
    bounds = np.array([w.bound for w in asked])
    meets = ((values - bounds) * signs >= 0).all(axis=1)
    at = np.flatnonzero(meets)
    goods = np.concatenate([-price[at, None], values[at] * signs], axis=1)
    chosen = np.zeros(len(price), bool)
    for i, good in zip(at, goods, strict=True):
        chosen[i] = not ((goods >= good).all(axis=1) & (goods > good).any(axis=1)).any()
    return chosen
