"""Classification measures of many cells that share their images, with joint bootstrap replicates; free of torch.

Every measure here is a function of sums over images of columns: accuracy is one of a single column, ECE of one column
per bin. So a resample costs one row of one matrix product for all measures, cells, the variant and FP32 together.
Intervals and p-values come from thousands of resamples; beside them are kept the values in the few resamples that all
measurements of the same photographs share (`resampling`), from which means and differences of rows get theirs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant.measures import shift
from reliquant.measures.calibration import bins_of, equal_mass_bins
from reliquant.measures.divergence import TOP, divergences
from reliquant.measures.intervals import stretched
from reliquant.measures.plug_in import plugged_in
from reliquant.measures.row import Row, row
from reliquant.measures.squared_ce import SquaredCE
from reliquant.measures.stats import bootstrap_p, percentile_interval, replicates, wilson
from reliquant.measures.turns import SHARES, Columns, flip_size, sizes, turn_size

LEVELS = ("nll", "brier", "confidence_gap", "balanced_accuracy")  # whose own intervals count a wrong answer not seen
FALLS = ("accuracy", "top5_accuracy", "balanced_accuracy")  # where an answer turns from right to wrong
TOTALS = ("gap", "count", "variance", "mass_right", "mass_square")  # parts whose sums over all images are enough
PAIR = ("agreement", "flips_right_to_wrong", "flips_wrong_to_right", "kl_to_fp32")
BINS = 15
VARIANT, FP32 = 0, 1  # places on the axis `who`


@dataclass(frozen=True)
class Sampled:
    """Hold one measure, a number or one number per cell, and its replicates along one more, last axis.

    `boot` are many, for the interval; `kept` are those in the shared resamples.
    """

    value: NDArray[np.floating]
    boot: NDArray[np.floating]
    kept: NDArray[np.floating]


def applied(function: Callable[..., NDArray[np.floating]], /, *measures: Sampled) -> Sampled:
    """Apply a function of measures to their values and, in the same way, to their replicates."""
    value, boot = function(*(m.value for m in measures)), function(*(m.boot for m in measures))
    return Sampled(value, boot, function(*(m.kept for m in measures)))


@dataclass(frozen=True)
class Replicated:
    """Hold measures of cells: value (cells, who, measures) and replicates (cells, who, measures, b), as in `Sampled`.

    `who` is the variant alone, or the variant and FP32 (`VARIANT`, `FP32`). Of a single cell the first axis is missing.
    `flip` (cells, measures) is how much one answer that flips adds to n times a measure, and `turn` how much one that
    turns from right to wrong, or back, does; `unseen` is how many flip beside those seen, either way, in each of many
    and of the shared resamples: of mean 0 and variance 1.
    """

    names: tuple[str, ...]
    value: NDArray[np.float64]
    boot: NDArray[np.float32]
    kept: NDArray[np.float32]
    n: int
    plug_in: Mapping[str, NDArray[np.floating]]  # calibration errors that no resample can judge, (cells, who) each
    flip: NDArray[np.float64]
    turn: NDArray[np.float64]
    unseen: tuple[NDArray[np.float32], NDArray[np.float32]]

    @property
    def paired(self) -> bool:
        """Whether FP32 was measured too."""
        return self.value.shape[-2] == 2

    def of(self, name: str, who: int, /) -> Sampled:
        """Return one measure of one of `VARIANT` and `FP32`: values (cells,) and replicates (cells, b)."""
        at = self.names.index(name)
        return Sampled(self.value[..., who, at], self.boot[..., who, at, :], self.kept[..., who, at, :])

    def cell(self, number: int, /) -> Replicated:
        """Return a single cell."""
        plug_in = {name: value[number] for name, value in self.plug_in.items()}
        found = {part: getattr(self, part)[number] for part in ("value", "boot", "kept", "flip", "turn")}
        return replace(self, **found, plug_in=plug_in)

    def averaged(self, cells: NDArray[np.bool_], /) -> Replicated:
        """Return a single cell: the mean of those chosen; a resample draws an image in all of them or in none.

        An answer that flips unseen does so in one of the cells, not in all at once.
        """
        share = cells.astype(np.float32) / cells.sum()
        boot, kept = (np.tensordot(share, part, axes=1) for part in (self.boot, self.kept))
        plug_in = {name: value[cells].mean(axis=0) for name, value in self.plug_in.items()}
        flip, turn = (size[cells].mean(axis=0) / cells.sum() ** 0.5 for size in (self.flip, self.turn))
        value = self.value[cells].mean(axis=0)
        return replace(self, value=value, boot=boot, kept=kept, plug_in=plug_in, flip=flip, turn=turn)

    def level(self, name: str, who: int, /) -> Sampled:
        """Return a measure of one of both for its own sake: as if one more of its answers might have turned.

        Among n answers without a wrong one there may be up to 3 in n elsewhere, so an upper end is that of 3 in n. As
        only a right answer turns wrong, each direction weighs by the share of the answers that can turn there.
        """
        plain, right = self.of(name, who), self.of("accuracy", who).value[..., None]
        size = self.turn[..., self.names.index(name)][..., None] * (-(2**0.5) if name in FALLS else 2**0.5) / self.n
        boot, kept = (size * np.where(beside > 0, right, 1 - right) * beside for beside in self.unseen)
        return Sampled(plain.value, plain.boot + boot, plain.kept + kept)

    def moved(self, name: str, /) -> Sampled:
        """Return a measure of the variant for differences to FP32: as if one more of its answers might have flipped.

        Among n images without a flip there may be up to 3 in n elsewhere, so no change is certain to be 0 (`unseen`).
        """
        plain, flip = self.of(name, VARIANT), self.flip[..., self.names.index(name)][..., None] / self.n
        return Sampled(plain.value, plain.boot + flip * self.unseen[0], plain.kept + flip * self.unseen[1])


def columns_of(records: pl.DataFrame, baseline: pl.DataFrame, /, *, detail: bool) -> Columns:
    """Return the summands of every measure of one cell; `baseline` is FP32 on the same images, or the records again.

    They are (n, k) for n images, and (1, k) for parts of which the sum is enough (`TOTALS`).
    `detail` adds balanced accuracy, MCE, the measures of equal-mass bins and what changed against FP32. The edges of
    the equal-mass bins are those of these images: resamples do not move them.
    """
    confidence, label = records["confidence"].to_numpy().astype(float), records["label"].to_numpy()
    right = (records["prediction"].to_numpy() == label).astype(float)
    bins, mass, gap = bins_of(confidence, bins=BINS), equal_mass_bins(confidence, bins=BINS), confidence - right
    columns = {
        "accuracy": right,
        "top5_accuracy": (records["rank"].to_numpy() < 5).astype(float),
        "gap": _summed(gap, bins),
        "nll": records["nll"].to_numpy().astype(float),
        "brier": records["brier"].to_numpy().astype(float),
        "confidence_gap": gap,
        "mass_gap": _spread(gap, mass),
        "mass_count": _spread(np.ones(len(label), np.float32), mass),
        "mass_square": _summed(gap**2, mass),
    }
    if detail:
        _, index, counts = np.unique(label, return_inverse=True, return_counts=True)
        was = baseline["prediction"].to_numpy() == label
        columns["count"] = _summed(np.ones(len(label)), bins)
        columns["variance"] = _summed(confidence * (1 - confidence), bins)
        columns["balanced_accuracy"] = right * (len(label) / len(counts) / counts[index])
        columns["mass_right"] = _summed(right, mass)
        columns["agreement"] = (records["prediction"] == baseline["prediction"]).to_numpy().astype(float)
        columns["flips_right_to_wrong"] = (was & (right == 0)).astype(float)
        columns["flips_wrong_to_right"] = (~was & (right == 1)).astype(float)
        if TOP in records.columns and TOP in baseline.columns:
            columns["kl_to_fp32"] = divergences(baseline, records)
    return {name: column.reshape(1 if name in TOTALS else len(label), -1) for name, column in columns.items()}


def measured(
    sums: Mapping[str, NDArray[np.floating]], n: int, squared: SquaredCE, /
) -> dict[str, NDArray[np.floating]]:
    """Return each measure, (cells, who, b), of the sums over resampled images of its parts, (cells, who, k, b).

    `squared` knows the squared calibration error of the images themselves, from which its replicates start.
    """
    measures: dict[str, NDArray[np.floating]]
    measures = {name: part[:, :, 0] / n for name, part in sums.items() if part.shape[2] == 1}
    measures["squared_ce"] = squared.replicate(sums["mass_gap"], sums["mass_count"])
    if "agreement" in sums:
        measures["rms_ce"] = np.sqrt(np.maximum(measures["squared_ce"], 0))
    return measures


def bootstrapped(
    cells: Sequence[Sequence[Columns]],
    stratum: NDArray[np.int64],
    rng: np.random.Generator,
    weight: NDArray[np.float32],
    unseen: NDArray[np.float32],
    /,
    *,
    resamples: int,
) -> Replicated:
    """Return values and replicates of cells[cell][who], all on the same images in the same order.

    `weight` (b, n) are the images' weights in the resamples that rows keep, see `resampling.weights`, and `unseen` (b,)
    is `resampling.unseen` of the images.
    """
    drawn = [part for part in cells[0][0] if part not in TOTALS]
    sides = [columns for cell in cells for columns in cell]
    shape = (len(cells), len(cells[0]))
    total = {}  # before parts become float32
    for part in cells[0][0]:
        sums = [columns[part].sum(axis=0, dtype=float) for columns in sides]
        total[part] = np.stack(sums).reshape(*shape, -1, 1)
    table = np.concatenate([columns[part] for columns in sides for part in drawn], axis=1, dtype=np.float32)
    n, ends = len(table), np.cumsum([0] + [total[part].shape[2] for part in drawn])
    squared = SquaredCE(total["mass_gap"], total["mass_count"], total["mass_square"])
    value = measured({part: total[part] for part in drawn}, n, squared) | squared.values(detail="count" in total)

    def finish(sums: NDArray[np.floating]) -> NDArray[np.floating]:
        whole = sums.reshape(*shape, ends[-1], -1)
        parted = {part: whole[:, :, a:b] for part, (a, b) in zip(drawn, itertools.pairwise(ends), strict=True)}
        named = measured(parted, n, squared)
        return np.stack([named[name] for name in value], axis=2)

    boot = _with_ends(replicates(table, finish, stratum, rng, resamples=resamples), list(value), squared)
    kept = _with_ends(finish(np.ascontiguousarray((weight @ table).T)).astype(np.float32), list(value), squared)
    half = -np.log1p(-(np.arange((resamples + 1) // 2) + 0.5) / ((resamples + 1) // 2)) * 0.5**0.5  # exponential
    beside = rng.permutation(np.concatenate([half, -half]))[:resamples].astype(np.float32)
    values = np.stack(list(value.values()), axis=2)[..., 0]
    flip, turn = (sizes(size, cells, list(value)) for size in (flip_size, turn_size))
    flip[:, list(value).index("squared_ce")] = squared.flip[..., 0].mean(axis=1)
    return Replicated(tuple(value), values, boot, kept, n, plugged_in(total, n), flip, turn, (beside, unseen))


def _with_ends(found: NDArray[np.float32], names: list[str], squared: SquaredCE) -> NDArray[np.float32]:
    """Stretch the replicates of the squared calibration error to its own interval, and the root's to its own."""
    at, (low, high) = names.index("squared_ce"), squared.interval
    value, low, high, most = (end[..., 0] for end in (squared.value, low, high, squared.most))
    found[:, :, at] = stretched(found[:, :, at], value, low, high)
    if "rms_ce" in names:
        found[:, :, names.index("rms_ce")] = np.sqrt(np.maximum(stretched(found[:, :, at], value, low, most), 0))
    return found


def rows_of(cell: Replicated, /, *, keep: bool = True) -> list[Row]:
    """Return the rows of a single cell: values with intervals, then differences to FP32 with p-values.

    Rows keep their replicates if `keep`.
    """
    alone = [name for name in cell.names if name not in PAIR]  # what a model has by itself, without FP32 beside it
    rows = []
    for name in cell.names if cell.paired else alone:
        measure = cell.level(name, VARIANT) if name in LEVELS else cell.of(name, VARIANT)
        alike = round(cell.n / cell.turn[cell.names.index(name)] ** 2) if name == "balanced_accuracy" else None
        rows.append(described(name, measure, cell.n, tested=False, keep=keep, alike=alike))
    rows += _plug_in_rows(cell)
    if not cell.paired:
        return rows
    for name in alone:
        if name != "rms_ce":  # the root has no slope at 0: its change is judged by that of the square
            change = applied(np.subtract, cell.moved(name), cell.of(name, FP32))
            rows.append(described(f"{name}_change", change, cell.n, tested=True, keep=keep))
    delta = applied(shift.accuracy_delta, cell.of("accuracy", FP32), cell.moved("accuracy"))
    return [*rows, described("accuracy_delta", delta, cell.n, tested=True, keep=keep)]


def _plug_in_rows(cell: Replicated) -> list[Row]:
    """Return the rows of the calibration errors as published: values and changes without interval and p-value."""
    values = {name: float(value[VARIANT]) for name, value in cell.plug_in.items()}
    if cell.paired:
        for name, value in cell.plug_in.items():
            if name != "ece_if_calibrated":
                values[f"{name}_change"] = float(value[VARIANT] - value[FP32])
        ece = cell.plug_in["ece"]
        values["ece_relative_change"] = float(shift.ece_relative_change(ece[FP32], ece[VARIANT]))
    return [row(name, value, np.nan, np.nan, np.nan, cell.n) for name, value in values.items()]


def described(
    name: str, measure: Sampled, n: int, /, *, tested: bool, keep: bool = True, alike: int | None = None
) -> Row:
    """Return the row of a number and its replicates (b,): its interval and, if tested, its p-value.

    Shares get Wilson's interval with the variance of their replicates. One of 0 or 1 cannot vary in a resample: it gets
    that of a share of 0 in n, and keeps no replicates. `alike` is how many images say as much if they weigh unevenly.
    Of one image nothing but a share has an interval: it does not say how much images differ.
    """
    value = float(measure.value)
    low, high = (float(end) for end in percentile_interval(measure.boot))
    p = float(bootstrap_p(measure.boot)) if tested else np.nan
    if name.endswith(SHARES) and min(abs(value), abs(1 - value)) < 1e-9:  # weights may add up to 0.9999999999999999
        value = float(round(value))
        return row(name, value, *wilson(value, 0.0, alike or n), p, n)
    if n == 1:
        return row(name, value, np.nan, np.nan, np.nan, n)
    if name.endswith(SHARES):
        low, high = wilson(value, float(np.var(measure.boot)), n)
    return row(name, value, low, high, p, n, measure.kept if keep else None)


def _summed(values: NDArray[np.floating], index: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the sum of the values in each bin, (bins,)."""
    return np.bincount(index, values, minlength=BINS).astype(float)


def _spread(values: NDArray[np.floating], index: NDArray[np.int64]) -> NDArray[np.floating]:
    """Put each value into the column of its bin, (n, bins), of the values' type."""
    table = np.zeros((len(values), BINS), values.dtype)
    table[np.arange(len(values)), index] = values
    return table
