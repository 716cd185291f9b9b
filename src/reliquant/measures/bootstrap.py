"""Classification measures of many cells that share their images, with joint bootstrap replicates; torch-free.

Every measure here is a function of sums over images of columns (accuracy of one, ECE of one a bin). So a resample costs
one row of one matrix product for all measures, cells, the variant and FP32 together.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Replicated:
    """Hold measures of cells: value (cells, who, measures) and bootstrap replicates (cells, who, measures, b).

    who = (variant,) or (variant, FP32).
    """

    names: tuple[str, ...]
    value: NDArray[np.float64]
    boot: NDArray[np.float32]
    n: int

    def of(self, name: str, who: int, /) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Return values (cells,) and replicates (cells, b) of one measure."""
        at = self.names.index(name)
        return self.value[:, who, at], self.boot[:, who, at]

    def averaged(self, cells: NDArray[np.bool_], /) -> Replicated:
        """Return one cell: the mean of those chosen; a resample draws an image in all of them or in none."""
        share = cells.astype(np.float32) / cells.sum()
        boot = np.tensordot(share, self.boot, axes=1)[None]
        return Replicated(self.names, self.value[cells].mean(axis=0)[None], boot, self.n * int(cells.sum()))


def columns_of(records: pl.DataFrame, baseline: pl.DataFrame, /, *, detail: bool) -> Columns:
    """Return the summands of every measure of one cell; `baseline` is FP32 on the same images, or the records again.

    `detail` adds balanced accuracy, MCE, the measures of equal-mass bins and what changed against FP32. The edges of
    the equal-mass bins are those of these images: resamples do not move them.
    """
    confidence, label = records["confidence"].to_numpy().astype(float), records["label"].to_numpy()
    right = (records["prediction"].to_numpy() == label).astype(float)
    bins = bins_of(confidence, bins=BINS)
    found = {
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
        found["count"] = _spread(np.ones(len(label), np.float32), bins)
        found["balanced_accuracy"] = right * (len(label) / len(counts) / counts[index])
        found["mass_gap"] = _spread(confidence - right, mass)
        found["mass_count"] = _spread(np.ones(len(label), np.float32), mass)
        found["mass_right"] = _spread(right.astype(np.float32), mass)
        found["agreement"] = (records["prediction"] == baseline["prediction"]).to_numpy().astype(float)
        found["flips_right_to_wrong"] = (was & (right == 0)).astype(float)
        found["flips_wrong_to_right"] = (~was & (right == 1)).astype(float)
        if TOP in records.columns and TOP in baseline.columns:
            found["kl_to_fp32"] = divergences(baseline, records)
    return {name: x.reshape(len(label), -1) for name, x in found.items()}


def measured(sums: dict[str, NDArray[np.floating]], n: int, /) -> dict[str, NDArray[np.floating]]:
    """Return the measures of sums of parts (cells, who, k, b) over n images, each (cells, who, b)."""
    found = {name: part[:, :, 0] / n for name, part in sums.items() if part.shape[2] == 1}
    found["ece"] = np.abs(sums["gap"]).sum(axis=2) / n
    if "count" in sums:
        found["mce"] = (np.abs(sums["gap"]) / np.maximum(sums["count"], 1)).max(axis=2)
        found["ece_equal_mass"] = np.abs(sums["mass_gap"]).sum(axis=2) / n
        gap, count, right = (sums[f"mass_{part}"] for part in ("gap", "count", "right"))
        m = np.maximum(count, 2)  # bins of one image are left out below
        noise = right / m * (1 - right / m) / (m - 1)
        squares = np.where(count > 1, m * ((gap / m) ** 2 - noise), 0).sum(axis=2)
        used = np.where(count > 1, count, 0).sum(axis=2)
        mean = np.divide(squares, used, out=np.full(used.shape, np.nan, used.dtype), where=used > 0)
        found["debiased_ce"] = np.sqrt(np.maximum(mean, 0))
    return found


def bootstrapped(
    cells: Sequence[Sequence[Columns]], stratum: NDArray[np.int64], rng: np.random.Generator, /, *, resamples: int
) -> Replicated:
    """Return values and replicates of cells[cell][who], all on the same images in the same order."""
    parts = tuple(cells[0][0])
    ends = np.cumsum([0] + [cells[0][0][part].shape[1] for part in parts])
    slices = [slice(a, b) for a, b in itertools.pairwise(ends)]
    each = [cell[who][m] for cell in cells for who in range(len(cell)) for m in parts]
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


def rows_of(found: Replicated, /) -> list[list[dict[str, float | int | str | None]]]:
    """Return for each cell its rows: values with intervals, then differences to FP32 with p-values."""
    paired = found.value.shape[1] == 2
    blocks: list[tuple[str, NDArray[np.float64], NDArray[np.floating], bool]] = []
    for name in found.names:
        if paired or name not in PAIR:
            blocks.append((name, *found.of(name, 0), False))
    if paired:
        for name in found.names:
            if name not in PAIR:
                (v, b), (v_f, b_f) = found.of(name, 0), found.of(name, 1)
                blocks.append((f"{name}_change", v - v_f, b - b_f, True))
        for name, of, change in (
            ("accuracy_delta", "accuracy", shift.accuracy_delta),
            ("ece_relative_change", "ece", shift.ece_relative_change),
        ):
            (v, b), (v_f, b_f) = found.of(of, 0), found.of(of, 1)
            blocks.append((name, change(v_f, v), change(b_f, b), True))
    each = [described(name, value, boot, found.n, tested=tested) for name, value, boot, tested in blocks]
    return [[block[cell] for block in each] for cell in range(len(found.value))]


def described(
    name: str, value: NDArray[np.float64], boot: NDArray[np.floating], n: int, /, *, tested: bool
) -> list[dict[str, float | int | str | None]]:
    """Return one row for each value (cells,) with the interval, and p if tested, of its replicates (cells, b).

    An accuracy of 0 or 1 cannot vary in a resample: it gets Wilson's interval.
    """
    low, high = percentile_interval(boot)
    p = bootstrap_p(boot) if tested else np.full(len(value), np.nan)
    rows = []
    for i, v in enumerate(np.asarray(value, float)):
        ends = wilson(v, 0.0, n) if name.endswith("accuracy") and v in (0.0, 1.0) else (low[i], high[i])
        numbers = {"value": v, "low": ends[0], "high": ends[1], "p": p[i]}
        rows.append({"measure": name, **{k: float(x) if np.isfinite(x) else None for k, x in numbers.items()}, "n": n})
    return rows


def _spread(values: NDArray[np.floating], index: NDArray[np.int64]) -> NDArray[np.floating]:
    """Put each value into the column of its bin, (n, bins), of the values' type."""
    table = np.zeros((len(values), BINS), values.dtype)
    table[np.arange(len(values)), index] = values
    return table
