"""Conformal prediction sets: how often they hold the true class, and how large they are; free of torch.

A set holds every class whose -log p is at most a threshold, which calibration images choose so that it holds the true
class of a share of all images (LAC: Sadinle, Lei and Wasserman 2019; Vovk et al. 2005). The guarantee is of images like
those of the calibration, under the model that it was made with.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant.measures.detection import Estimate
from reliquant.measures.resampling import GOLDEN
from reliquant.measures.stats import Z95

SIZES = "set_sizes"  # the column of records that holds how many classes reach each threshold of the grid
STEP = 0.125  # of -log p, the unit of the grid: from p = 1/2 on, every unit, then every second, then every eighth
GRID = np.concatenate([np.arange(16), np.arange(16, 48, 2), np.arange(48, 160, 8)])  # to p = 2.8e-9
POINTS = len(GRID)  # 92 bytes per record in memory, in a file about 15 with ten classes and 45 with a thousand
PLACE = np.searchsorted(GRID, np.arange(GRID[-1] + 2))  # the first point that a class of so many units reaches
HALF = float(-np.log(0.5))
MOST = np.iinfo(np.uint16).max
Floats = NDArray[np.float64]
Of = Literal["coverage", "size"]


def set_sizes(log_p: Floats, /) -> pl.Series:
    """Return how many classes of each row (n, c) have a -log p of at most each point of the grid, as a column.

    >>> set_sizes(np.log([[0.5, 0.35, 0.15]]))[0].to_list()[:4]  # p of at least 0.5, 0.44, 0.39, 0.34
    [1, 1, 1, 2]
    """
    n = len(log_p)
    units = np.ceil(np.clip((-log_p - HALF) / STEP - 1e-9, 0, GRID[-1] + 1)).astype(np.intp)
    place = PLACE[units] + np.arange(n)[:, None] * (POINTS + 1)
    counts = np.bincount(place.ravel(), minlength=n * (POINTS + 1)).reshape(n, POINTS + 1)
    sizes = np.minimum(counts[:, :POINTS].cumsum(axis=1), MOST).astype(np.uint16)
    return pl.Series(SIZES, sizes, dtype=pl.Array(pl.UInt16, POINTS))


def halves(photograph: NDArray[np.uint64], /) -> NDArray[np.bool_]:
    """Return in which of two halves each photograph is, (n,): the same one in all records of it."""
    with np.errstate(over="ignore"):
        return ((photograph ^ (photograph >> np.uint64(32))) * GOLDEN >> np.uint64(63)).astype(bool)


def threshold(nll: NDArray[np.floating], level: float, /) -> float:
    """Return the largest -log p of the classes in a set: the ceil((n + 1) level)-th smallest of the true classes' (n,).

    Infinite where n is too small: then only the set of all classes has the guarantee.

    >>> threshold(np.arange(1.0, 20.0), 0.9), threshold(np.arange(8.0), 0.9)
    (18.0, inf)
    """
    needed = int(np.ceil((len(nll) + 1) * level - 1e-9))
    return float(np.partition(nll, needed - 1)[needed - 1]) if needed <= len(nll) else np.inf


@dataclass(frozen=True)
class Answers:
    """Hold of each image the -log p of its true class and the largest p, (n,), `set_sizes` (n, 46), and its half."""

    nll: NDArray[np.floating]
    confidence: NDArray[np.floating]
    sizes: NDArray[np.unsignedinteger]
    half: NDArray[np.bool_]

    @cached_property
    def parts(self) -> tuple[Answers, Answers]:
        """Those of the first and of the second half."""
        first, second = (
            Answers(self.nll[own], self.confidence[own], self.sizes[own], self.half[own])
            for own in (~self.half, self.half)
        )
        return first, second

    def measured(self, of: Of, at: float, /) -> Floats:
        """Return whether each image's set at a threshold holds the true class, 1 or 0, or how large it is, (n,).

        The size is NaN beyond the grid. Whether the likeliest class is in a set is exact; how many others are is
        interpolated by a cubic between the points of the grid: the mean over images is exact to 1 %, mostly to 0.2 %.
        """
        if of == "coverage":
            return (self.nll <= at).astype(float)
        likeliest = (self.confidence >= np.exp(-at) * (1 - 1e-6)).astype(float)
        unit = (at - HALF) / STEP
        if unit <= 0:
            return likeliest
        if unit > GRID[-1]:
            return np.full(len(self.nll), np.nan)
        first, weights = _cubic(unit)
        more = self.sizes[:, first : first + 4].astype(float) - 1
        return likeliest + np.maximum(more, 0) @ weights


@lru_cache(maxsize=256)
def _cubic(unit: float, /) -> tuple[int, Floats]:
    """Return the first of four points of the grid around a place, and their weights in the cubic through them."""
    first = int(np.clip(np.searchsorted(GRID, unit) - 2, 0, POINTS - 4))
    points = GRID[first : first + 4].astype(float)
    rest = [np.delete(points, i) for i in range(4)]
    return first, np.array(
        [np.prod((unit - others) / (own - others)) for own, others in zip(points, rest, strict=True)]
    )


@dataclass(frozen=True)
class Threshold:
    """Hold the threshold of a half of the calibration images and what shows how sure it is.

    `ends` are the thresholds at both ends of the 95 % interval of the level that it really has (Woodruff 1952), `width`
    the length of that interval; `influence` (n,) is that of all calibration images on that level, and `spread` its mean
    distance from the level asked for.
    """

    at: float
    ends: tuple[float, float]
    width: float
    influence: Floats
    spread: float


def thresholds(calibration: Answers, level: float, /) -> tuple[Threshold, Threshold] | None:
    """Return the thresholds of both halves of the calibration images; None where one is too small."""
    found = []
    for half, part in zip((False, True), calibration.parts, strict=True):
        m, at = len(part.nll), threshold(part.nll, level)
        if not np.isfinite(at):
            return None
        h, ordered = Z95 * np.sqrt(level * (1 - level) / m), np.sort(part.nll)
        low, high = max(1 / m, level - h), min(1.0, level + h)
        first, last = (float(ordered[int(np.ceil(x * m - 1e-9)) - 1]) for x in (low, high))
        kept, influence = part.nll <= at, np.zeros(len(calibration.nll))
        influence[calibration.half == half] = (kept.mean() - kept) * len(influence) / m
        spread = float(np.sqrt(2 / np.pi * level * (1 - level) / m))
        found.append(Threshold(at, (first, last), high - low, influence, spread))
    return found[0], found[1]


@dataclass(frozen=True)
class Crossed:
    """Hold a coverage or mean size, with influences of calibration (`id`) and other images (`ood`).

    `more` is variance that influences do not show: where sets are calibrated on the very model and kind of images, the
    two parts cancel, and what is left is that of the images between the true threshold and the one found.
    """

    estimate: Estimate
    more: float


def crossed(both: tuple[Threshold, Threshold], test: Answers, of: Of, /) -> Crossed:
    """Return the coverage or mean size of the sets of test images, each half with the threshold of the other half.

    So no photograph is tested by a threshold that it helped to choose. The influence of a calibration image is through
    its half's threshold, by the slope of what is measured by the level.
    """
    n, more = len(test.nll), 0.0
    values, by_calibration = np.zeros(n), np.zeros(len(both[0].influence))
    for chosen, half in zip(both, (True, False), strict=True):
        tested = test.parts[int(half)]
        if len(tested.nll):
            values[test.half == half] = tested.measured(of, chosen.at)
            low, high = (tested.measured(of, end).mean() for end in chosen.ends)
            share, slope = len(tested.nll) / n, (high - low) / chosen.width
            by_calibration += share * slope * chosen.influence
            more += share / n * abs(slope) * chosen.spread if of == "coverage" else 0.0
    value = float(values.mean())
    return Crossed(Estimate(value, by_calibration, values - value), float(more))
