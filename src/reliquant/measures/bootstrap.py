"""Classification measures of many cells that share their images, with joint bootstrap replicates; free of torch.

Every measure here is a function of sums over images of columns: accuracy is one of a single column, ECE of one column
per bin. So a resample costs one row of one matrix product for all measures, cells, the variant and FP32 together.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant.measures import shift
from reliquant.measures.calibration import bins_of, equal_mass_bins
from reliquant.measures.divergence import TOP, divergences
from reliquant.measures.stats import bootstrap_p, percentile_interval, replicates, wilson

Columns = dict[str, NDArray[np.float64]]  # part -> (n, k): its sums over images make one or more measures
PAIR = ("agreement", "flips_right_to_wrong", "flips_wrong_to_right", "kl_to_fp32")
BINS = 15
VARIANT, FP32 = 0, 1  # places on the axis `who`


class Row(TypedDict):
    """A measured value with its 95 % interval, p-value and number of images; None where a number is undefined."""

    measure: str
    value: float | None
    low: float | None
    high: float | None
    p: float | None
    n: int


def row(measure: str, value: float, low: float, high: float, p: float, n: int, /) -> Row:
    """Return a row; numbers that are not finite become None."""
    numbers = {"value": value, "low": low, "high": high, "p": p}
    known = {name: float(number) if np.isfinite(number) else None for name, number in numbers.items()}
    return Row(measure=measure, value=known["value"], low=known["low"], high=known["high"], p=known["p"], n=n)


@dataclass(frozen=True)
class Sampled:
    """Hold one measure, a number or one number per cell, and its bootstrap replicates along one more, last axis."""

    value: NDArray[np.floating]
    boot: NDArray[np.floating]


def applied(function: Callable[..., NDArray[np.floating]], /, *measures: Sampled) -> Sampled:
    """Apply a function of measures to their values and, in the same way, to their replicates."""
    return Sampled(function(*(m.value for m in measures)), function(*(m.boot for m in measures)))


@dataclass(frozen=True)
class Replicated:
    """Hold measures of cells: value (cells, who, measures) and bootstrap replicates (cells, who, measures, b).

    `who` is the variant alone, or the variant and FP32 (`VARIANT`, `FP32`). Of a single cell the first axis is missing.
    """

    names: tuple[str, ...]
    value: NDArray[np.float64]
    boot: NDArray[np.float32]
    n: int

    @property
    def paired(self) -> bool:
        """Whether FP32 was measured too."""
        return self.value.shape[-2] == 2

    def of(self, name: str, who: int, /) -> Sampled:
        """Return one measure of one of `VARIANT` and `FP32`: values (cells,) and replicates (cells, b)."""
        at = self.names.index(name)
        return Sampled(self.value[..., who, at], self.boot[..., who, at, :])

    def cell(self, number: int, /) -> Replicated:
        """Return a single cell."""
        return Replicated(self.names, self.value[number], self.boot[number], self.n)

    def averaged(self, cells: NDArray[np.bool_], /) -> Replicated:
        """Return a single cell: the mean of those chosen; a resample draws an image in all of them or in none."""
        share = cells.astype(np.float32) / cells.sum()
        boot = np.tensordot(share, self.boot, axes=1)
        return Replicated(self.names, self.value[cells].mean(axis=0), boot, self.n * int(cells.sum()))


def columns_of(records: pl.DataFrame, baseline: pl.DataFrame, /, *, detail: bool) -> Columns:
    """Return the summands of every measure of one cell; `baseline` is FP32 on the same images, or the records again.

    `detail` adds balanced accuracy, MCE, the measures of equal-mass bins and what changed against FP32. The edges of
    the equal-mass bins are those of these images: resamples do not move them.
    """
    confidence, label = records["confidence"].to_numpy().astype(float), records["label"].to_numpy()
    right = (records["prediction"].to_numpy() == label).astype(float)
    bins = bins_of(confidence, bins=BINS)
    columns = {
        "accuracy": right,
        "top5_accuracy": (records["rank"].to_numpy() < 5).astype(float),
        "gap": _spread(confidence - right, bins),
        "nll": records["nll"].to_numpy().astype(float),
        "brier": records["brier"].to_numpy().astype(float),
        "confidence_gap": confidence - right,
    }
    if detail:
        _, index, counts = np.unique(label, return_inverse=True, return_counts=True)
        was, mass = baseline["prediction"].to_numpy() == label, equal_mass_bins(confidence, bins=BINS)
        columns["count"] = _spread(np.ones(len(label), np.float32), bins)
        columns["balanced_accuracy"] = right * (len(label) / len(counts) / counts[index])
        columns["mass_gap"] = _spread(confidence - right, mass)
        columns["mass_count"] = _spread(np.ones(len(label), np.float32), mass)
        columns["mass_right"] = _spread(right.astype(np.float32), mass)
        columns["agreement"] = (records["prediction"] == baseline["prediction"]).to_numpy().astype(float)
        columns["flips_right_to_wrong"] = (was & (right == 0)).astype(float)
        columns["flips_wrong_to_right"] = (~was & (right == 1)).astype(float)
        if TOP in records.columns and TOP in baseline.columns:
            columns["kl_to_fp32"] = divergences(baseline, records)
    return {name: column.reshape(len(label), -1) for name, column in columns.items()}


def measured(sums: dict[str, NDArray[np.floating]], n: int, /) -> dict[str, NDArray[np.floating]]:
    """Return each measure, (cells, who, b), of the sums over n images of its parts, (cells, who, k, b)."""
    measures: dict[str, NDArray[np.floating]] = {
        name: part[:, :, 0] / n for name, part in sums.items() if part.shape[2] == 1
    }
    measures["ece"] = np.abs(sums["gap"]).sum(axis=2) / n
    if "count" in sums:
        measures["mce"] = (np.abs(sums["gap"]) / np.maximum(sums["count"], 1)).max(axis=2)
        measures["ece_equal_mass"] = np.abs(sums["mass_gap"]).sum(axis=2) / n
        gap, count, right = (sums[f"mass_{part}"] for part in ("gap", "count", "right"))
        m = np.maximum(count, 2)  # bins of one image are left out below
        noise = right / m * (1 - right / m) / (m - 1)
        squares = np.where(count > 1, m * ((gap / m) ** 2 - noise), 0).sum(axis=2)
        used = np.where(count > 1, count, 0).sum(axis=2)
        mean = np.divide(squares, used, out=np.full(used.shape, np.nan, used.dtype), where=used > 0)
        measures["debiased_ce"] = np.sqrt(np.maximum(mean, 0))
    return measures


def bootstrapped(
    cells: Sequence[Sequence[Columns]], stratum: NDArray[np.int64], rng: np.random.Generator, /, *, resamples: int
) -> Replicated:
    """Return values and replicates of cells[cell][who], all on the same images in the same order."""
    parts = tuple(cells[0][0])
    ends = np.cumsum([0] + [cells[0][0][part].shape[1] for part in parts])
    slices = [slice(a, b) for a, b in itertools.pairwise(ends)]
    each = []
    for cell in cells:
        for columns in cell:
            each += [columns[part] for part in parts]
    total = np.concatenate([part.sum(axis=0, dtype=float) for part in each])  # before parts become float32
    table = np.concatenate(each, axis=1, dtype=np.float32)
    n, shape = len(table), (len(cells), len(cells[0]), ends[-1])

    def named(sums: NDArray[np.floating]) -> dict[str, NDArray[np.floating]]:
        parted = sums.reshape(*shape, -1)
        return measured({part: parted[:, :, s] for part, s in zip(parts, slices, strict=True)}, n)

    value = named(total[:, None])

    def finish(sums: NDArray[np.floating]) -> NDArray[np.floating]:
        return np.stack(list(named(sums).values()), axis=2)

    boot = replicates(table, finish, stratum, rng, resamples=resamples)
    return Replicated(tuple(value), np.stack(list(value.values()), axis=2)[..., 0], boot, n)


def rows_of(cell: Replicated, /) -> list[Row]:
    """Return the rows of a single cell: values with intervals, then differences to FP32 with p-values."""
    alone = [name for name in cell.names if name not in PAIR]  # what a model has by itself, without FP32 beside it
    rows = []
    for name in cell.names if cell.paired else alone:
        rows.append(described(name, cell.of(name, VARIANT), cell.n, tested=False))
    if not cell.paired:
        return rows
    for name in alone:
        change = applied(np.subtract, cell.of(name, VARIANT), cell.of(name, FP32))
        rows.append(described(f"{name}_change", change, cell.n, tested=True))
    for name, of, function in (
        ("accuracy_delta", "accuracy", shift.accuracy_delta),
        ("ece_relative_change", "ece", shift.ece_relative_change),
    ):
        change = applied(function, cell.of(of, FP32), cell.of(of, VARIANT))
        rows.append(described(name, change, cell.n, tested=True))
    return rows


def described(name: str, measure: Sampled, n: int, /, *, tested: bool) -> Row:
    """Return the row of a number and its replicates (b,): its interval and, if tested, its p-value.

    An accuracy of 0 or 1 cannot vary in a resample: it gets Wilson's interval.
    """
    value = float(measure.value)
    low, high = (float(end) for end in percentile_interval(measure.boot))
    if name.endswith("accuracy") and value in (0.0, 1.0):
        low, high = wilson(value, 0.0, n)
    return row(name, value, low, high, float(bootstrap_p(measure.boot)) if tested else np.nan, n)


def _spread(values: NDArray[np.floating], index: NDArray[np.int64]) -> NDArray[np.floating]:
    """Put each value into the column of its bin, (n, bins), of the values' type."""
    table = np.zeros((len(values), BINS), values.dtype)
    table[np.arange(len(values)), index] = values
    return table
