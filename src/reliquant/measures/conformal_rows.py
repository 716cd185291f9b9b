"""Rows of conformal sets: with thresholds set up on FP32, and on the variant itself; free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant.measures import bootstrap, resampling
from reliquant.measures.conformal import SIZES, Answers, Crossed, Of, crossed, halves
from reliquant.measures.pairing import Pair
from reliquant.measures.stats import Z95, normal_test, strata, wilson

LEVELS = {"90": 0.90, "95": 0.95}
OF: tuple[Of, ...] = ("coverage", "size")


def conformal_rows(known: Pair, tests: Sequence[Pair], /) -> list[bootstrap.Row]:
    """Return coverage and mean size of sets at 90 and 95 %, averaged over cells that hold the same images.

    `known` holds the clean records of the dataset that calibrates. Measures that end with `_fp32` have thresholds of
    FP32's records, as where a guarantee was set up before quantization, those with `_own` of the variant's (FP32 itself
    has these alone). Changes are to FP32 with its own thresholds. Nothing where records lack `set_sizes`.
    """
    sides = [side for pair in (known, *tests) for side in pair.sides]
    if any(SIZES not in side.columns or side[SIZES].null_count() for side in sides):
        return []
    shared = _Shared(known.variant, tests[0].variant)
    calibrations = {"own": _answers(known.variant)}
    if known.fp32 is not None:
        calibrations["fp32"] = _answers(known.fp32)
    variants = [_answers(test.variant) for test in tests]
    exact = [_answers(test.fp32) for test in tests if test.fp32 is not None]
    rows = []
    for word, level in LEVELS.items():
        for of in OF:
            fp32 = shared.mean([crossed(calibrations["fp32"], test, of, level) for test in exact]) if exact else None
            for whose, calibration in calibrations.items():
                found = shared.mean([crossed(calibration, test, of, level) for test in variants])
                rows += shared.rows(f"conformal_{of}_{word}_{whose}", of, found, fp32)
    return rows


def _answers(records: pl.DataFrame) -> Answers:
    nll, confidence = (records[name].to_numpy().astype(float) for name in ("nll", "confidence"))
    return Answers(nll, confidence, records[SIZES].to_numpy(), halves(resampling.keys(records)))


@dataclass(frozen=True)
class _Found:
    """Hold a value, what each photograph adds to it (k,), and variance beyond that."""

    value: float
    parts: NDArray[np.float64]
    more: float


class _Shared:
    """Put influences of calibration and test images together by their photographs, which the two may share."""

    def __init__(self, known: pl.DataFrame, test: pl.DataFrame) -> None:
        keys, labels = (np.concatenate([of(known), of(test)]) for of in (resampling.keys, _labels))
        photograph, first, place = np.unique(keys, return_index=True, return_inverse=True)
        self.known, self.test = place[: len(known)], place[len(known) :]
        self.weight = resampling.weights(photograph, strata(labels[first]))
        self.number, self.n = len(photograph), len(test)

    def mean(self, cells: Sequence[Crossed], /) -> _Found:
        """Average the same measure over cells of the same test images."""
        known, test = (np.mean([getattr(cell.estimate, side) for cell in cells], axis=0) for side in ("id", "ood"))
        parts = np.bincount(self.known, known, self.number) / len(known)
        parts += np.bincount(self.test, test, self.number) / len(test)
        value = float(np.mean([cell.estimate.value for cell in cells]))
        return _Found(value, parts, float(np.mean([cell.more for cell in cells])))

    def variance(self, parts: NDArray[np.float64], /) -> float:
        return float(np.sum(parts**2)) * self.number / (self.number - 1) if self.number > 1 else np.nan

    def rows(self, name: str, of: Of, found: _Found, fp32: _Found | None, /) -> list[bootstrap.Row]:
        """Return the row of a measure, and of its change where there is FP32."""
        variance = self.variance(found.parts) + found.more
        if of == "coverage":
            low, high = wilson(found.value, variance, self.n)
        else:
            half = Z95 * np.sqrt(variance)
            low, high = max(0.0, found.value - half), found.value + half
        rows = [bootstrap.row(name, found.value, low, high, np.nan, self.n, self._kept(found.value, found.parts))]
        if fp32 is not None:
            change, parts = found.value - fp32.value, found.parts - fp32.parts
            test = normal_test(change, self.variance(parts))
            rows.append(bootstrap.row(f"{name}_change", change, *test, self.n, self._kept(change, parts)))
        return rows

    def _kept(self, value: float, parts: NDArray[np.float64]) -> NDArray[np.float32]:
        return resampling.linear(value, parts * self.number, self.weight)


def _labels(records: pl.DataFrame) -> NDArray[np.integer]:
    return records["label"].to_numpy()
