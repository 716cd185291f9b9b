"""Rows of one dataset of a suite: classification, noise means, spurious groups, OOD detection; free of torch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant.measures import bootstrap, detection, resampling, shift
from reliquant.measures.bootstrap import FP32, VARIANT, Replicated, Sampled, applied
from reliquant.measures.detection import Estimate
from reliquant.measures.intervals import Ends, of_ratio, stretched
from reliquant.measures.pairing import Pair, fp32_answers
from reliquant.measures.selective_rows import selective_rows
from reliquant.measures.stats import strata

FULL_SPECTRUM = ("auroc", "fpr95_id_positive", "fpr95_ood_positive")
FOR_DETECTION = ("dataset", "index", "label", "prediction", resampling.PHOTOGRAPH)  # what weighs the images of a score
PlacedRow = dict[str, Any]  # a `bootstrap.Row` and where it was measured: a `Place`, of OOD sets also the score


class Place(TypedDict):
    """Name the part of a dataset that a row is about; empty words and severity 0 stand for the whole."""

    group: str
    corruption: str
    severity: int


def classification(
    pair: Pair, rng: np.random.Generator, resamples: int, clean: Pair | None = None, /
) -> list[PlacedRow]:
    """Measure every (corruption, severity) cell of a dataset, and the means over noise cells.

    `clean` holds the records of the same images without corruption; None, or no records, where there are none.
    """
    records = pair.variant
    noisy = len(records.select("corruption", "severity").unique()) > 1 or records["corruption"][0] != ""
    if noisy and clean is not None and len(clean.variant):
        pair = pair.followed_by(clean)
    pair = pair.sort("corruption", "severity", "index")
    cells = pair.variant.select("corruption", "severity").unique(maintain_order=True).rows()
    parts = _parts(pair, cells)
    weight = weights_of(parts[0].variant)
    replicated = _replicated(parts, weight, rng, resamples)
    rows = []
    for number, (corruption, severity) in enumerate(cells):
        if noisy and not corruption:
            continue
        measured = bootstrap.rows_of(replicated.cell(number), keep=not corruption)
        if len(cells) == 1:
            measured += selective_rows(parts[number], weight)
        rows += _placed(measured, "", corruption, severity)
    return rows + (_noise_means(replicated, cells) if noisy else [])


def _parts(pair: Pair, cells: list[tuple[str, int]]) -> list[Pair]:
    """Cut records, sorted by cell and index, into cells; raise ValueError unless all cells hold the same images."""
    size = len(pair.variant) // len(cells)
    parts = [pair.slice(number * size, size) for number in range(len(cells))]
    images = parts[0].variant.select("index", "label")
    for (corruption, severity), part in zip(cells, parts, strict=True):
        records = part.variant
        if not records.select("index", "label").equals(images) or records["corruption"].n_unique() > 1:
            where = pair.variant.row(0, named=True)
            raise ValueError(
                f"{where['suite']} suite, {where['dataset']}: the images of {corruption} severity {severity} "
                f"are not those of {cells[0][0]} severity {cells[0][1]}"
            )
    return parts


def _replicated(parts: list[Pair], weight: NDArray[np.float32], rng: np.random.Generator, resamples: int) -> Replicated:
    """Bootstrap all cells of one dataset together; a single cell has more measures. `weight` is of `weights_of`."""
    cells = []
    for part in parts:
        baseline = part.variant if part.fp32 is None else part.fp32
        cells.append([bootstrap.columns_of(side, baseline, detail=len(parts) == 1) for side in part.sides])
    records = parts[0].variant
    stratum = strata(records["label"].to_numpy())
    unseen = resampling.unseen(resampling.keys(records), fp32_answers(parts[0]))
    return bootstrap.bootstrapped(cells, stratum, rng, weight, unseen, resamples=resamples)


def weights_of(records: pl.DataFrame, /) -> NDArray[np.float32]:
    """Return the weights of records in the resamples that rows keep, (KEPT, n), with their classes as strata."""
    return resampling.weights(resampling.keys(records), strata(records["label"].to_numpy()))


def _noise_means(replicated: Replicated, cells: list[tuple[str, int]]) -> list[PlacedRow]:
    """Return the means over corruptions, overall (severity 0) and at each severity, and the mean corruption errors."""
    names = np.array([corruption for corruption, _ in cells])
    severities = np.array([severity for _, severity in cells])
    noisy = names != ""
    rows = []
    for severity in (0, *np.unique(severities[noisy]).tolist()):
        chosen = noisy & ((severities == severity) | (severity == 0))
        rows += _placed(bootstrap.rows_of(replicated.averaged(chosen), keep=severity == 0), "", "mean", severity)
    if len({tuple(severities[names == corruption]) for corruption in names[noisy]}) == 1:
        rows += _placed(_corruption_errors(replicated, names), "", "mean", 0)
    return rows


def _corruption_errors(replicated: Replicated, names: NDArray[np.str_]) -> list[bootstrap.Row]:
    """Return the mean corruption error, and relative to FP32's, of all errors and of those that corruption adds.

    `names` holds the corruption of each cell, "" for the images without any.
    """
    corruptions = list(dict.fromkeys(names[names != ""].tolist()))

    def by_corruption(accuracy: NDArray[np.floating]) -> NDArray[np.floating]:
        error = np.maximum(1 - accuracy, 0)  # an answer that turns unseen may leave fewer than none
        return np.stack([error[names == corruption] for corruption in corruptions])

    def uncorrupted(accuracy: NDArray[np.floating]) -> NDArray[np.floating]:
        return 1 - accuracy[names == ""][0]

    accuracy = replicated.of("accuracy", VARIANT)
    error = applied(by_corruption, accuracy)  # (corruptions, severities), replicates (corruptions, severities, b)
    errors = {"mean_corruption_error": applied(lambda e: e.mean(axis=(0, 1)), error)}
    if replicated.paired:
        accuracy_fp32 = replicated.of("accuracy", FP32)
        error_fp32 = applied(by_corruption, accuracy_fp32)
        error = applied(by_corruption, replicated.moved("accuracy"))
        errors["mce_to_fp32"] = applied(shift.mean_corruption_error, error, error_fp32)
        if "" in names:
            clean, clean_fp32 = applied(uncorrupted, accuracy), applied(uncorrupted, accuracy_fp32)
            added = applied(shift.relative_mean_corruption_error, error, clean, error_fp32, clean_fp32)
            errors["relative_mce_to_fp32"] = added
    return [bootstrap.described(name, measure, replicated.n, tested=False) for name, measure in errors.items()]


def spurious(pair: Pair, rng: np.random.Generator, resamples: int, /) -> list[PlacedRow]:
    """Measure each group (other images each, so resampled on its own), then what lies between the groups."""
    rows, groups = [], {}
    for group in pair.variant["group"].unique(maintain_order=True):
        part = pair.filter(pair.variant["group"] == group)
        part_weight = weights_of(part.variant)
        groups[group] = _replicated(_parts(part, [("", 0)]), part_weight, rng, resamples).cell(0)
        rows += _placed(bootstrap.rows_of(groups[group]) + selective_rows(part, part_weight), group, "", 0)
    return rows + _placed(_between(groups), "", "", 0)


def _between(groups: dict[str, Replicated]) -> list[bootstrap.Row]:
    """Return the worst accuracy of the groups, and what the groups `common` and `counter` say of a spurious cue."""
    n = sum(replicated.n for replicated in groups.values())
    paired = all(replicated.paired for replicated in groups.values())
    variant = {group: replicated.of("accuracy", VARIANT) for group, replicated in groups.items()}
    moved = {group: replicated.moved("accuracy") for group, replicated in groups.items()}
    fp32 = {group: replicated.of("accuracy", FP32) for group, replicated in groups.items() if paired}
    levels = {group: replicated.level("accuracy", VARIANT) for group, replicated in groups.items()}
    ends = {}  # of each group: one that is all right, or all wrong, varies in no resample
    for group, accuracy in variant.items():
        found = bootstrap.described("accuracy", accuracy, groups[group].n, tested=False)
        ends[group] = float(accuracy.value), (found["low"] or 0.0, 1.0 if found["high"] is None else found["high"])
    least = min(low for _, (low, _) in ends.values()), min(high for _, (_, high) in ends.values())
    rows = [_within("worst_group_accuracy", applied(_worst, *levels.values()), least, n)]
    if paired:
        change = applied(np.subtract, applied(_worst, *moved.values()), applied(_worst, *fp32.values()))
        rows.append(bootstrap.described("worst_group_accuracy_change", change, n, tested=True))
    if {"common", "counter"} <= groups.keys():
        low, high = of_ratio(*ends["counter"], *ends["common"])
        gap = applied(shift.rsg, levels["common"], levels["counter"])
        rows.append(_within("rsg", gap, (1 - high, 1 - low), n))
        if paired:
            four = (fp32["common"], fp32["counter"], moved["common"], moved["counter"])
            for measure in (shift.rsg_change, shift.vuln_add):
                rows.append(bootstrap.described(measure.__name__, applied(measure, *four), n, tested=True))
    return rows


def _within(name: str, measure: Sampled, ends: Ends, n: int) -> bootstrap.Row:
    """Return the row of a number whose interval is given, to which its replicates are stretched."""
    value = float(measure.value)
    low, high = (np.asarray(end) for end in ends)
    finite = np.isfinite(value) and np.isfinite(low) and np.isfinite(high)
    kept = stretched(measure.kept, measure.value, low, high) if finite else None
    return bootstrap.row(name, value, *ends, np.nan, n, kept)


def _worst(*accuracies: NDArray[np.floating]) -> NDArray[np.floating]:
    return shift.worst_group(accuracies)


def full_spectrum(known: Pair, shifted: Sequence[Pair], unknown: Pair, /) -> list[PlacedRow]:
    """Return detection measures, as `full_spectrum_<measure>`, where shifted images of the same classes are known too.

    Full-spectrum OOD detection of OpenOOD v1.5 (Yang et al. 2022; Zhang et al. 2023): the images of the clean set and
    of all its shifted sets together are told from OOD images. Nothing without shifted sets.
    """
    if not shifted:
        return []
    columns = [name for name in known.variant.columns if name in FOR_DETECTION or name.startswith("score:")]
    for pair in (known, *shifted):
        columns = [name for name in columns if all(_has(side, name) for side in pair.sides)]
    known = known.select(columns)
    for pair in shifted:
        known = known.followed_by(pair)
    rows = detection_rows(known, unknown, only=FULL_SPECTRUM)
    return [{**row, "measure": f"full_spectrum_{row['measure']}"} for row in rows]


def detection_rows(known: Pair, unknown: Pair, /, *, only: Collection[str] | None = None) -> list[PlacedRow]:
    """Return the detection measures, or some, of every score that both sides have.

    `known` holds the records of the in-distribution images, `unknown` those of the OOD set.
    """
    rows, weight = [], weights_of(known.variant)
    for group in unknown.variant["group"].unique(maintain_order=True):
        away = unknown.filter(unknown.variant["group"] == group)
        sides = _Sides(known, away, weight, weights_of(away.variant.with_columns(label=pl.lit(-1))))
        for column in unknown.variant.columns:
            if not column.startswith("score:"):
                continue
            if not all(_has(side, column) for side in (*known.sides, *unknown.sides)):
                continue
            place = {"group": group, "corruption": "", "severity": 0, "score": column.removeprefix("score:")}
            rows += [{**place, **row} for row in _detection(sides, column, only)]
    return rows


def _has(records: pl.DataFrame, column: str) -> bool:
    """Whether records have a column, and not for other images alone."""
    return column in records.columns and records[column].null_count() < len(records)


@dataclass(frozen=True)
class _Sides:
    """Hold in-distribution and OOD records, and their weights in the resamples that rows keep."""

    known: Pair
    unknown: Pair
    known_weight: NDArray[np.float32]
    unknown_weight: NDArray[np.float32]

    def kept(self, estimate: Estimate) -> NDArray[np.float32]:
        """Return the replicates of an estimate."""
        images = resampling.linear(estimate.value, estimate.id, self.known_weight)
        return images + resampling.linear(0.0, estimate.ood, self.unknown_weight)

    def moved(self, estimate: Estimate, fp32: Estimate) -> NDArray[np.float32]:
        """Return the replicates of the difference of two estimates, with what no image shows (`Estimate.unseen`)."""
        pair = self.known if estimate.negatives == len(self.known.variant) else self.unknown
        unseen = resampling.unseen(resampling.keys(pair.variant), fp32_answers(pair))
        return self.kept(estimate) - self.kept(fp32) + np.float32(estimate.unseen(fp32)) * unseen


def _detection(sides: _Sides, column: str, only: Collection[str] | None) -> list[bootstrap.Row]:
    """Return the detection measures of one column of scores, and their differences to FP32."""
    known, unknown = sides.known, sides.unknown
    rows, n = [], len(known.variant) + len(unknown.variant)
    found = detection.estimates(known.variant[column].to_numpy(), unknown.variant[column].to_numpy(), only=only)
    fp32 = {}
    if known.fp32 is not None and unknown.fp32 is not None:
        fp32 = detection.estimates(known.fp32[column].to_numpy(), unknown.fp32[column].to_numpy(), only=only)
    for name, estimate in found.items():
        kept = sides.kept(estimate)
        rows.append(bootstrap.row(name, estimate.value, *estimate.interval, np.nan, n, kept))
        if name in fp32:
            change = sides.moved(estimate, fp32[name])
            rows.append(bootstrap.row(f"{name}_change", *estimate.minus(fp32[name]), n, change))
    return rows


def _placed(rows: list[bootstrap.Row], group: str, corruption: str, severity: int) -> list[PlacedRow]:
    """Say of each row which part of the dataset it is about."""
    place = Place(group=group, corruption=corruption, severity=severity)
    return [{**place, **row} for row in rows]
