"""Rows of conformal sets: with thresholds set up on FP32, and on the variant itself; free of torch."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant.measures import bootstrap, resampling
from reliquant.measures.conformal import SIZES, Answers, Crossed, Of, Threshold, crossed, halves, thresholds
from reliquant.measures.pairing import Pair
from reliquant.measures.stats import Z95, normal_test, strata, wilson

LEVELS = {"90": 0.90, "95": 0.95}
OF: tuple[Of, ...] = ("coverage", "size")


def conformal_rows(known: Pair, tested: Pair, /) -> list[dict[str, Any]]:
    """Return coverage and mean size of prediction sets at 90 and 95 %, as placed rows.

    `known` holds the clean records of the dataset that calibrates, `tested` those of the images that are measured: of
    many corruptions and severities the means over corruptions, at each severity and at all (0). Measures that end with
    `_fp32` have thresholds of FP32's records, as where a guarantee was set up before quantization, those with `_own` of
    the variant's (FP32 itself has these alone). Changes are to FP32 with its own thresholds. Nothing where records lack
    `set_sizes`; null where a half of the calibration images is too small.
    """
    sides = [side for pair in (known, tested) for side in pair.sides]
    if not len(known.variant) or any(SIZES not in side.columns or side[SIZES].null_count() for side in sides):
        return []
    cells = tested.variant.select("corruption", "severity").unique(maintain_order=True)
    noisy = cells["corruption"].to_list() != [""]
    parts = [tested.filter(_is_of(tested.variant, *cell)) for cell in cells.rows()]
    severities = sorted({0, *cells["severity"]}) if noisy else [0]
    chosen = {severity: [severity in (0, own) for own in cells["severity"]] for severity in severities}
    shared, found = _Shared(*(pair.sides[-1] for pair in (known, parts[0]))), _measured(known, parts)
    rows = []
    for severity, of_cells in chosen.items():
        place = {"group": "", "corruption": "mean" if noisy else "", "severity": severity}
        means = {word: [shared.mean(_chosen(each, of_cells)) for each in measured] for word, measured in found.items()}
        rows += [{**place, **row} for word, mean in means.items() for row in shared.rows(word, *mean)]
    return rows


def _is_of(records: pl.DataFrame, corruption: str, severity: int) -> pl.Series:
    return (records["corruption"] == corruption) & (records["severity"] == severity)


def _chosen(cells: Sequence[Crossed | None], chosen: Sequence[bool]) -> list[Crossed | None]:
    return list(itertools.compress(cells, chosen))


def _measured(known: Pair, parts: Sequence[Pair]) -> dict[str, list[list[Crossed | None]]]:
    """Return by measure what each cell has, first of the variant and then, where it is there, of FP32."""
    calibrations = {"own": _answers(known.variant)}
    if known.fp32 is not None:
        calibrations["fp32"] = _answers(known.fp32)
    quantized = [_answers(part.variant) for part in parts]
    exact = [_answers(part.fp32) for part in parts if part.fp32 is not None]
    found = {}
    for word, level in LEVELS.items():
        both = {whose: thresholds(calibration, level) for whose, calibration in calibrations.items()}
        for of in OF:
            fp32 = [[_crossed(both["fp32"], test, of) for test in exact]] if exact else []
            for whose, own in both.items():
                found[f"conformal_{of}_{word}_{whose}"] = [[_crossed(own, test, of) for test in quantized], *fp32]
    return found


def _crossed(both: tuple[Threshold, Threshold] | None, test: Answers, of: Of) -> Crossed | None:
    return None if both is None else crossed(both, test, of)


def _answers(records: pl.DataFrame) -> Answers:
    nll, confidence = (records[name].to_numpy().astype(float) for name in ("nll", "confidence"))
    return Answers(nll, confidence, records[SIZES].to_numpy(), halves(resampling.keys(records)))


@dataclass(frozen=True)
class _Found:
    """Hold the mean of a value over so many cells, what each photograph adds to it (k,), and variance beyond that."""

    value: float
    parts: NDArray[np.float64]
    more: float
    cells: int


class _Shared:
    """Put influences of calibration and test images together by their photographs, which the two may share.

    The records are FP32's where they are there: an unseen flip is one of its answers.
    """

    def __init__(self, known: pl.DataFrame, test: pl.DataFrame) -> None:
        keys, labels, answers = (np.concatenate([of(known), of(test)]) for of in (resampling.keys, _labels, _answered))
        photograph, first, place = np.unique(keys, return_index=True, return_inverse=True)
        self.known, self.test = place[: len(known)], place[len(known) :]
        self.weight = resampling.weights(photograph, strata(labels[first]))
        self.unseen = resampling.unseen(photograph, answers[first])
        self.number, self.n = len(photograph), len(test)

    def mean(self, cells: Sequence[Crossed | None], /) -> _Found:
        """Average the same measure over cells of the same test images; NaN where a cell has none."""
        there = [cell for cell in cells if cell is not None]
        if len(there) < len(cells):
            return _Found(np.nan, np.full(self.number, np.nan), np.nan, len(cells))
        known, test = (np.mean([getattr(cell.estimate, side) for cell in there], axis=0) for side in ("id", "ood"))
        parts = np.bincount(self.known, known, self.number) / len(known)
        parts += np.bincount(self.test, test, self.number) / len(test)
        value = float(np.mean([cell.estimate.value for cell in there]))
        return _Found(value, parts, float(np.mean([cell.more for cell in there])), len(cells))

    def variance(self, parts: NDArray[np.float64], /) -> float:
        return float(np.sum(parts**2)) * self.number / (self.number - 1) if self.number > 1 else np.nan

    def rows(self, name: str, found: _Found, fp32: _Found | None = None, /) -> list[bootstrap.Row]:
        """Return the row of a measure, and of its change where there is FP32.

        A change of coverage counts one set that might have lost or gained its class unseen, in one of the cells. A
        change of the size of sets that each have thresholds of their own has no interval: two thresholds that nearly
        agree differ by single images, which no influence knows (the remainder of Bahadur 1966).
        """
        variance = self.variance(found.parts) + found.more
        if "coverage" in name:
            low, high = wilson(found.value, variance, self.n)
        else:
            half = Z95 * np.sqrt(variance)
            low, high = max(0.0, found.value - half), found.value + half
        rows = [bootstrap.row(name, found.value, low, high, np.nan, self.n, self._kept(found.value, found.parts))]
        if fp32 is not None:
            change, parts = found.value - fp32.value, found.parts - fp32.parts
            if name.startswith("conformal_size") and name.endswith("_own"):
                rows.append(bootstrap.row(f"{name}_change", change, np.nan, np.nan, np.nan, self.n))
                return rows
            flip = 1 / self.n / found.cells**0.5 if "coverage" in name else 0.0
            test = normal_test(change, self.variance(parts) + flip**2)
            kept = self._kept(change, parts) + np.float32(flip) * self.unseen
            rows.append(bootstrap.row(f"{name}_change", change, *test, self.n, kept))
        return rows

    def _kept(self, value: float, parts: NDArray[np.float64]) -> NDArray[np.float32]:
        return resampling.linear(value, parts * self.number, self.weight)


def _labels(records: pl.DataFrame) -> NDArray[np.integer]:
    return records["label"].to_numpy()


def _answered(records: pl.DataFrame) -> NDArray[np.integer]:
    return records["prediction"].to_numpy()
