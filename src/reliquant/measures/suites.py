"""Rows of one dataset of a suite: classification, noise means, spurious groups, OOD detection; torch-free.

`pair` holds the records of the variant and, for differences, those of FP32 on the same images in the same order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant.measures import bootstrap, detection, selective, shift
from reliquant.measures.smooth_ece import smooth_ece
from reliquant.measures.stats import normal_test, strata, variance_of_mean, wilson

Row = dict[str, Any]


def classification(
    pair: list[pl.DataFrame], rng: np.random.Generator, resamples: int, clean: list[pl.DataFrame] | None = None, /
) -> list[Row]:
    """Measure every (corruption, severity) cell of a dataset, and the means over noise cells.

    `clean` holds the records of the same images without corruption, empty where they are not at hand.
    """
    noisy = len(pair[0].select("corruption", "severity").unique()) > 1 or pair[0]["corruption"][0] != ""
    if noisy and clean and len(clean[0]):
        pair = [pl.concat([who, plain.select(who.columns)]) for who, plain in zip(pair, clean, strict=True)]
    pair = [who.sort("corruption", "severity", "index") for who in pair]
    cells = pair[0].select("corruption", "severity").unique(maintain_order=True).rows()
    found, parts = _replicated(pair, cells, rng, resamples)
    rows = []
    for cell, (corruption, severity) in enumerate(cells):
        if noisy and not corruption:
            continue
        where = {"group": "", "corruption": corruption, "severity": severity}
        extra = _by_influence(parts[cell]) if len(cells) == 1 else []
        rows += [{**where, **row} for row in bootstrap.rows_of(_cell(found, cell))[0] + extra]
    return rows + (_noise_means(found, cells) if noisy else [])


def _replicated(
    pair: list[pl.DataFrame], cells: list[tuple[str, int]], rng: np.random.Generator, resamples: int
) -> tuple[bootstrap.Replicated, list[list[pl.DataFrame]]]:
    """Bootstrap all cells of one dataset jointly; they must hold the same images."""
    size = len(pair[0]) // len(cells)
    parts = [[who[i * size : (i + 1) * size] for who in pair] for i in range(len(cells))]  # sorted by cell, then index
    first = parts[0][0].select("index", "label")
    for (corruption, severity), part in zip(cells, parts, strict=True):
        if not part[0].select("index", "label").equals(first) or part[0]["corruption"].n_unique() > 1:
            where = pair[0].row(0, named=True)
            raise ValueError(
                f"{where['suite']} suite, {where['dataset']}: the images of {corruption} severity {severity} "
                f"are not those of {cells[0][0]} severity {cells[0][1]}"
            )
    detail = len(cells) == 1
    columns = [[bootstrap.columns_of(who, part[-1], detail=detail) for who in part] for part in parts]
    return bootstrap.bootstrapped(columns, strata(first["label"].to_numpy()), rng, resamples=resamples), parts


def _cell(found: bootstrap.Replicated, cell: int) -> bootstrap.Replicated:
    at = slice(cell, cell + 1)
    return bootstrap.Replicated(found.names, found.value[at], found.boot[at], found.n)


def _noise_means(found: bootstrap.Replicated, cells: list[tuple[str, int]]) -> list[Row]:
    """Return the means over corruptions, overall (severity 0) and at each severity, and the mean corruption errors."""
    noisy, severities = np.array([c != "" for c, _ in cells]), np.array([s for _, s in cells])
    rows = []
    for severity in (0, *np.unique(severities[noisy]).tolist()):
        chosen = noisy & ((severities == severity) | (severity == 0))
        where = {"group": "", "corruption": "mean", "severity": severity}
        rows += [{**where, **row} for row in bootstrap.rows_of(found.averaged(chosen))[0]]
    names = np.array([c for c, _ in cells])
    if len({tuple(severities[names == c]) for c in names[noisy]}) == 1:
        where = {"group": "", "corruption": "mean", "severity": 0}
        rows += [{**where, **row} for row in _corruption_errors(found, names)]
    return rows


def _corruption_errors(found: bootstrap.Replicated, names: NDArray[np.str_]) -> list[Row]:
    """Return the mean corruption error, and relative to FP32's, of all errors and of those that corruption adds."""
    who = range(found.value.shape[1])
    noisy = list(dict.fromkeys(names[names != ""].tolist()))
    error = {w: [np.stack([1 - x[names == c] for c in noisy]) for x in found.of("accuracy", w)] for w in who}
    clean = {w: [1 - x[names == ""][0] for x in found.of("accuracy", w)] for w in who if "" in names}
    made = [("mean_corruption_error", [e.mean(axis=(0, 1)) for e in error[0]])]
    if len(who) == 2:
        made.append(
            ("mce_to_fp32", [shift.mean_corruption_error(q, f) for q, f in zip(error[0], error[1], strict=True)])
        )
        if clean:
            parts = zip(error[0], clean[0], error[1], clean[1], strict=True)
            made.append(("relative_mce_to_fp32", [shift.relative_mean_corruption_error(*x) for x in parts]))
    n = found.n * int((names != "").sum())
    return [bootstrap.described(name, np.atleast_1d(v), b[None], n, tested=False)[0] for name, (v, b) in made]


def spurious(pair: list[pl.DataFrame], rng: np.random.Generator, resamples: int, /) -> list[Row]:
    """Measure each group (other images each, so resampled on its own), then what lies between the groups."""
    rows, groups = [], {}
    for group in pair[0]["group"].unique(maintain_order=True):
        at = (pair[0]["group"] == group).to_numpy()
        part = [who.filter(at) for who in pair]
        groups[group], _ = _replicated(part, [("", 0)], rng, resamples)
        where = {"group": group, "corruption": "", "severity": 0}
        rows += [{**where, **row} for row in bootstrap.rows_of(groups[group])[0] + _by_influence(part)]
    where = {"group": "", "corruption": "", "severity": 0}
    return rows + [{**where, **row} for row in _between(groups)]


def _between(groups: dict[str, bootstrap.Replicated]) -> list[Row]:
    n = sum(g.n for g in groups.values())
    who = range(next(iter(groups.values())).value.shape[1])
    found: list[tuple[str, Any, Any, bool]] = []
    worst = [[shift.worst_group([g.of("accuracy", w)[i] for g in groups.values()]) for w in who] for i in (0, 1)]
    found.append(("worst_group_accuracy", worst[0][0], worst[1][0], False))
    if len(who) == 2:
        found.append(("worst_group_accuracy_change", worst[0][0] - worst[0][1], worst[1][0] - worst[1][1], True))
    if {"common", "counter"} <= groups.keys():
        by_group = [[groups[g].of("accuracy", w) for g in ("common", "counter")] for w in who]
        value, boot = ([[x[i] for x in both] for both in by_group] for i in (0, 1))
        found.append(("rsg", shift.rsg(*value[0]), shift.rsg(*boot[0]), False))
        if len(who) == 2:
            for f in (shift.rsg_change, shift.vuln_add):
                found.append((f.__name__, f(*value[1], *value[0]), f(*boot[1], *boot[0]), True))
    return [bootstrap.described(name, v, b, n, tested=tested)[0] for name, v, b, tested in found]


def _by_influence(pair: list[pl.DataFrame]) -> list[Row]:
    """Return the measures that are no sums, with closed-form intervals, and how sure flipped predictions are."""
    rows = []
    columns = [(w["confidence"].to_numpy(), (w["prediction"] == w["label"]).to_numpy()) for w in pair]
    for f in (smooth_ece, selective.aurc, selective.excess_aurc, selective.misclassification_auroc):
        found = [f(*x) for x in columns]
        (value, influence), n, name = found[0], len(pair[0]), f.__name__
        low, high = wilson(value, variance_of_mean(influence), n) if 0 <= value <= 1 else (np.nan, np.nan)
        rows.append(_row(name, value, low, high, np.nan, n))
        if len(found) == 2:
            change, variance = value - found[1][0], variance_of_mean(influence - found[1][1])
            rows.append(_row(f"{name}_change", change, *normal_test(change, variance), n))
    if len(pair) == 2:
        flipped = (pair[0]["prediction"] != pair[1]["prediction"]).to_numpy()
        value, influence = selective.flipped_confidence_gap(*columns[0], flipped)
        low, high, _ = normal_test(value, variance_of_mean(influence))
        rows.append(_row("flipped_confidence_gap", value, low, high, np.nan, int(flipped.sum())))
    return rows


def detection_rows(ids: list[pl.DataFrame], pair: list[pl.DataFrame], /) -> list[Row]:
    """Return the detection measures of every score that both sides have."""
    rows = []
    for column in (c for c in pair[0].columns if c.startswith("score:")):
        if any(who[column].null_count() == len(who) for who in (*ids, *pair)):
            continue
        near = [who[column].to_numpy() for who in ids]
        for group in pair[0]["group"].unique(maintain_order=True):
            at = (pair[0]["group"] == group).to_numpy()
            away = [who.filter(at)[column].to_numpy() for who in pair]
            where = {"group": group, "corruption": "", "severity": 0, "score": column.removeprefix("score:")}
            for name, f in detection.MEASURES.items():
                found = [f(x, y) for x, y in zip(near, away, strict=True)]
                n = len(near[0]) + len(away[0])
                rows.append({**where, **_row(name, found[0].value, *found[0].interval, np.nan, n)})
                if len(found) == 2:
                    rows.append({**where, **_row(f"{name}_change", *found[0].minus(found[1]), n)})
    return rows


def _row(measure: str, value: float, low: float, high: float, p: float, n: int) -> Row:
    numbers = {"value": value, "low": low, "high": high, "p": p}
    return {"measure": measure, **{k: float(x) if np.isfinite(x) else None for k, x in numbers.items()}, "n": n}
