"""Means over queries with intervals that resample images, each with all its texts; free of torch.

The influence of a photograph on a mean is that of all its queries together, so that five captions of one image are not
five images (a ratio estimate: captions may differ in number), and what it does to others' queries, whose answers its
images and captions are (`Asked.and_answers`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from reliquant.measures import resampling
from reliquant.measures.answering import Answering, counted_once
from reliquant.measures.intervals import freedom_of, p_of_side
from reliquant.measures.row import Row, row
from reliquant.measures.stats import bootstrap_p, draws, normal_test, percentile_interval, wilson

NEARLY, RARE = 1e-9, 10
ROUNDING = 1e-6  # of a float32 sum of weights
MEDIANS = 2_000  # resamples of a median, each of which costs a pass over all queries
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Mean:
    """Hold a mean over queries, how many there were, and what each photograph adds, (c,), around 0.

    `parts` is what it adds as it asks, `answering` how far the mean rises without it as an answer, None where the
    gallery is taken as given. `rare` says that fewer than ten photographs have a query whose value is not 1, or not 0.
    """

    value: float
    number: int
    parts: Floats
    rare: bool = False
    answering: Answering | None = None


@dataclass(frozen=True)
class Median:
    """Hold a median, its values in many resamples for the interval, and in those that rows keep."""

    value: float
    boot: Floats
    kept: Floats


class Asked:
    """Know which photograph each query is of, and how photographs weigh in the resamples that rows keep."""

    def __init__(
        self,
        photograph: NDArray[np.uint64],
        stratum: NDArray[np.int64],
        rng: np.random.Generator,
        resamples: int,
        /,
    ) -> None:
        keys, first, self.of = np.unique(photograph, return_index=True, return_inverse=True)
        self.stratum = np.unique(stratum[first], return_inverse=True)[1]
        self.weight = resampling.weights(keys, self.stratum)
        self.unseen = resampling.unseen(keys)
        self.keys, self.number = keys, len(keys)
        self.rng, self.resamples = rng, min(resamples, MEDIANS)

    def places(self, photograph: NDArray[np.uint64], known: NDArray[np.bool_], /) -> NDArray[np.int64]:
        """Return which of the photographs that ask each of some is, (g,); -1 where it is none or not known."""
        place = np.minimum(np.searchsorted(self.keys, photograph), self.number - 1)
        return np.where(known & (self.keys[place] == photograph), place, -1)

    def mean(self, values: Floats, /) -> Mean:
        """Return the mean of a value of each query, (q,), over those where it is defined."""
        there = np.isfinite(values)
        number = int(there.sum())
        if not number:
            return Mean(np.nan, 0, np.full(self.number, np.nan))
        value = float(values[there].mean())
        apart = np.where(there, values - value, 0.0) / number
        others = (values < 1 - NEARLY, values > NEARLY)
        rare = min(len(np.unique(self.of[there & other])) for other in others) < RARE
        return Mean(value, number, np.bincount(self.of, apart, self.number).astype(float), rare)

    def and_answers(self, mean: Mean, answering: Answering | None, /) -> Mean:
        """Return a mean with how far others' queries rise in sum without each photograph as an answer.

        None: the gallery is taken as given.
        """
        return mean if answering is None else replace(mean, answering=answering.times(1 / max(mean.number, 1)))

    def parts(self, mean: Mean, before: Mean | None = None, /) -> Floats:
        """Return what each photograph adds to a mean, or to the difference of two, in both its roles, (c,).

        As it asks alone where it is not known of one of them what it adds as an answer.
        """
        if before is None:
            asking, answering = mean.parts, mean.answering
        else:
            asking, answering = mean.parts - before.parts, None
            if mean.answering is not None and before.answering is not None:
                answering = mean.answering.less(before.answering)
        return asking if answering is None else counted_once(asking, answering, self.stratum, self.variance)

    def variance(self, parts: Floats, /) -> float:
        """Return the variance of a sum of parts of photographs, which are drawn within their strata."""
        size = np.bincount(self.stratum)
        apart = parts - (np.bincount(self.stratum, parts) / size)[self.stratum]
        if len(parts) < 2:
            return np.nan
        return float(np.sum((size / np.maximum(size - 1, 1))[self.stratum] * apart**2))

    def kept(self, value: float, parts: Floats, /) -> NDArray[np.float32]:
        """Return the replicates of a value that rows keep."""
        return resampling.linear(value, parts * self.number, self.weight)

    def share_row(self, name: str, mean: Mean, /) -> Row:
        """Return the row of a mean of values from 0 to 1, with Wilson's interval.

        One of 0 or 1 cannot vary: it gets that of a share of 0 in so many images, and keeps no replicates. Where hardly
        any image has another value than 1, those that were not seen may be worse: the variance is at least a share's.
        """
        value, parts = mean.value, self.parts(mean)
        variance = self.variance(parts)
        if mean.rare:
            variance = max(variance, value * (1 - value) / mean.number)
        if min(abs(value), abs(1 - value)) < NEARLY:  # discounts may add up to 0.9999999999999999
            return row(name, round(value), *wilson(round(value), 0.0, self.number), np.nan, self.number)
        return row(name, value, *wilson(value, variance, self.number), np.nan, self.number, self.kept(value, parts))

    def gap_row(self, name: str, mean: Mean, /) -> Row:
        """Return the row of a mean of values from -1 to 1."""
        parts = self.parts(mean)
        low, high = wilson((1 + mean.value) / 2, self.variance(parts) / 4, self.number)
        low, high = 2 * low - 1, 2 * high - 1
        return row(name, mean.value, low, high, np.nan, self.number, self.kept(mean.value, parts))

    def change_row(self, name: str, mean: Mean, before: Mean, /, *, flip: float = 1.0) -> Row:
        """Return the row of a paired difference, counting one query that may differ by `flip` unseen, either way."""
        parts, unseen = self.parts(mean, before), flip / max(mean.number, 1)
        change = mean.value - before.value
        low, high, p = normal_test(change, self.variance(parts) + unseen**2)
        kept = self.kept(change, parts) + np.float32(unseen) * self.unseen
        return row(name, change, low, high, p, self.number, kept)

    def distance_row(self, name: str, mean: Mean, /, *, flip: float = 1.0) -> Row:
        """Return the row of a mean of values of at least 0, counting one query of `flip` that was not seen."""
        parts = self.parts(mean)
        variance = self.variance(parts) + (flip / max(mean.number, 1)) ** 2
        low, high, _ = normal_test(mean.value, variance)
        return row(name, mean.value, max(low, 0.0), high, np.nan, self.number, self.kept(mean.value, parts))

    def plain_row(self, name: str, mean: Mean, before: Mean | None = None, /) -> Row:
        """Return the row of a mean, or of a paired difference of two, with Student's t by the kurtosis of its parts."""
        parts = self.parts(mean, before)
        value = mean.value if before is None else mean.value - before.value
        half = float(np.sqrt(self.variance(parts))) * float(stdtrit(min(freedom_of(parts), 1e9), 0.975))
        p = np.nan if before is None else p_of_side(value, value - half, value + half)
        return row(name, value, value - half, value + half, p, self.number, self.kept(value, parts))

    def median(self, rank: Floats, /) -> Median:
        """Return the median of a rank of each query, (q,), with its values in resamples of images."""
        boot, kept = weighted_medians(rank, self.of, self._drawn, self.weight)
        return Median(float(np.median(rank)), boot, kept)

    def median_row(self, name: str, one: Median, before: Median | None = None, /) -> Row:
        """Return the row of a median, or of the difference of two on the same queries."""
        value, boot, kept = one.value, one.boot, one.kept
        if before is not None:
            value, boot, kept = value - before.value, boot - before.boot, kept - before.kept
        low, high = (float(end) for end in percentile_interval(boot))
        p = np.nan if before is None else float(bootstrap_p(boot))
        return row(name, value, low, high, p, self.number, kept)

    @cached_property
    def _drawn(self) -> NDArray[np.float32]:
        return draws(self.number, self.rng, resamples=self.resamples)


def weighted_medians(values: Floats, of: NDArray[np.int64], /, *weights: NDArray[np.float32]) -> list[Floats]:
    """Return the median of (q,) values in each resample, (b,) for each of `weights` (b, c); query i weighs as `of[i]`.

    It is the least value up to which lies half of the weight, or the mean of it and the next where that is just half.
    Only values are looked at up to which lies half of all queries, give or take six standard errors.
    """
    number = weights[0].shape[1]
    level, place, count = np.unique(values, return_inverse=True, return_counts=True)
    share, size = np.cumsum(count) / len(values), np.bincount(of, minlength=number)
    apart = 3 * np.sqrt(float(np.sum(size**2))) / len(values)  # six times the largest standard error of a share
    low = int(np.searchsorted(share, 0.5 - apart))
    high = min(int(np.searchsorted(share, 0.5 + apart)), len(level) - 1)
    inside = np.clip(place, low, high + 1) - low  # what lies below the first value counts with it
    table = np.bincount(of * (high - low + 2) + inside, minlength=number * (high - low + 2)).reshape(number, -1)
    upto = np.cumsum(table[:, : high - low + 1], axis=1).astype(np.float32)
    found = []
    for weight in weights:
        shares, half = weight @ upto, (weight @ size.astype(np.float32))[:, None] / 2
        places = [_first(shares >= half - ROUNDING * len(values)), _first(shares > half + ROUNDING * len(values))]
        found.append(level[low + np.stack(places)].mean(axis=0))
    return found


def _first(truth: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return where each row is true first; its last place where nowhere."""
    return np.where(truth.any(axis=1), np.argmax(truth, axis=1), truth.shape[1] - 1)
