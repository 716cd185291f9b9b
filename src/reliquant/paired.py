"""Classification measures of many cells that share their images, with joint bootstrap replicates; torch-free.

Every measure here is a sum over images of columns, or a sum of absolute values of such sums (ECE: one a bin). So a
resample costs one row of one matrix product for all measures, cells, the variant and FP32 together.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant import shift
from reliquant.calibration import bins_of, equal_mass_bins
from reliquant.stats import bootstrap_p, percentile_interval, replicates, wilson

Columns = dict[str, NDArray[np.float64]]  # measure -> (n, k)
ABSOLUTE = ("ece", "ece_equal_mass")
PAIR = ("agreement", "flips_right_to_wrong", "flips_wrong_to_right")
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

    `detail` adds balanced accuracy, equal-mass ECE and what changed against FP32. The edges of the equal-mass bins are
    those of these images: resamples do not move them.
    """
    confidence, label = records["confidence"].to_numpy().astype(float), records["label"].to_numpy()
    right = (records["prediction"].to_numpy() == label).astype(float)
    found = {
        "accuracy": right,
        "top5_accuracy": (records["rank"].to_numpy() < 5).astype(float),
        "ece": _spread(confidence - right, bins_of(confidence, bins=BINS)),
        "nll": records["nll"].to_numpy().astype(float),
        "brier": records["brier"].to_numpy().astype(float),
        "confidence_gap": confidence - right,
    }
    if detail:
        _, index, counts = np.unique(label, return_inverse=True, return_counts=True)
        was = baseline["prediction"].to_numpy() == label
        found["balanced_accuracy"] = right * (len(label) / len(counts) / counts[index])
        found["ece_equal_mass"] = _spread(confidence - right, equal_mass_bins(confidence, bins=BINS))
        found["agreement"] = (records["prediction"] == baseline["prediction"]).to_numpy().astype(float)
        found["flips_right_to_wrong"] = (was & (right == 0)).astype(float)
        found["flips_wrong_to_right"] = (~was & (right == 1)).astype(float)
    return {name: x.reshape(len(label), -1) for name, x in found.items()}


def bootstrapped(
    cells: Sequence[Sequence[Columns]], stratum: NDArray[np.int64], rng: np.random.Generator, /, *, resamples: int
) -> Replicated:
    """Return values and replicates of cells[cell][who], all on the same images in the same order."""
    names = tuple(cells[0][0])
    ends = np.cumsum([0] + [cells[0][0][name].shape[1] for name in names])
    slices = [slice(a, b) for a, b in itertools.pairwise(ends)]
    table = np.concatenate([cell[who][m] for cell in cells for who in range(len(cell)) for m in names], axis=1)
    n, shape = len(table), (len(cells), len(cells[0]), ends[-1])

    def finish(sums: NDArray[np.floating]) -> NDArray[np.floating]:
        each = sums.reshape(*shape, -1)
        parts = [
            np.abs(each[:, :, s]).sum(axis=2) if name in ABSOLUTE else each[:, :, s.start]
            for name, s in zip(names, slices, strict=True)
        ]
        return np.stack(parts, axis=2) / n

    value = finish(table.sum(axis=0)[:, None])[..., 0]
    return Replicated(names, value, replicates(table, finish, stratum, rng, resamples=resamples), n)


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


def _spread(values: NDArray[np.float64], index: NDArray[np.int64]) -> NDArray[np.float64]:
    """Put each value into the column of its bin, (n, bins)."""
    table = np.zeros((len(values), BINS))
    table[np.arange(len(values)), index] = values
    return table
