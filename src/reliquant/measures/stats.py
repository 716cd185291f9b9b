"""Intervals and p-values: the paired, class-stratified bootstrap, closed forms, Holm's correction, several seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit  # scipy.stats takes a second to import

Float = NDArray[np.float64]
Z95 = float(ndtri(0.975))


def strata(label: NDArray[np.integer], /) -> NDArray[np.int64]:
    """Number the strata of a class-stratified bootstrap, (n,): one per class.

    A class of one image would never vary: such classes share a stratum, and a single one joins the smallest other.

    >>> strata(np.array([7, 7, 3, 9, 7]))
    array([1, 1, 0, 0, 1])
    """
    _, index, counts = np.unique(label, return_inverse=True, return_counts=True)
    number, alone = np.arange(1, len(counts) + 1), counts == 1
    number[alone] = 0
    if alone.sum() == 1 and len(counts) > 1:
        number[np.argmin(np.where(alone, len(label), counts))] = 0
    return np.unique(number[index], return_inverse=True)[1].astype(np.int64)


def draws(size: int, rng: np.random.Generator, /, *, resamples: int) -> NDArray[np.float32]:
    """Return the weight of each of `size` images of a stratum in each resample, (resamples, size).

    One image fewer than there are is drawn, with equal chances, and each weighs size / (size - 1): a mean then has the
    variance of an unbiased estimate, however small the stratum (Rao and Wu 1988, section 2). An image that is alone
    weighs 1. `size` must be below 2**23, so that float32 products stay exact enough.
    """
    if size == 1:
        return np.ones((resamples, 1), np.float32)
    counts, drawn_each = np.empty((resamples, size), np.float32), size - 1
    step = max(1, 50_000 // size)  # a piece that stays in the cache
    for low in range(0, resamples, step):
        drawn = rng.random((min(step, resamples - low), drawn_each), dtype=np.float32)
        drawn *= size  # stays below size
        index = drawn.astype(np.int64)
        index += size * np.arange(len(index))[:, None]
        whole = np.bincount(index.ravel(), minlength=size * len(index))
        counts[low : low + len(index)] = whole.reshape(-1, size)
    counts *= size / drawn_each
    return counts


def replicates(
    columns: NDArray[np.floating],
    finish: Callable[[NDArray[np.floating]], NDArray[np.floating]],
    stratum: NDArray[np.int64],
    rng: np.random.Generator,
    /,
    *,
    resamples: int = 10_000,
    budget: int = 4_000_000,
) -> NDArray[np.float32]:
    """Return (..., resamples) values of `finish` on the sums of `columns` (n, k) over stratified bootstrap samples.

    `finish` maps sums (k, b) to (..., b). Whatever is a function of sums (accuracy, ECE, NLL, their differences) costs
    nothing but matrix products; about `budget` numbers are held at a time. Every stratum keeps its weight
    (`draws`).
    """
    members = np.split(np.argsort(stratum, kind="stable"), np.cumsum(np.bincount(stratum))[:-1])
    by_size = sorted((m for m in members if len(m)), key=len)  # a stable sort: strata of one size keep their order
    sizes = sorted(Counter(len(m) for m in by_size).items())  # (images of a stratum, number of such strata)
    ordered = np.ascontiguousarray(columns[np.concatenate(by_size)], np.float32)
    sums = _sums_at_once if ordered.shape[1] > len(ordered) / len(members) else _sums_by_stratum
    widest = len(ordered) if sums is _sums_at_once else sizes[-1][0]
    block = max(1, min(resamples, budget // max(widest, ordered.shape[1])))
    blocks = []
    for start in range(0, resamples, block):
        blocks.append(finish(sums(ordered, sizes, rng, min(block, resamples - start)).T))
    return np.ascontiguousarray(np.concatenate(blocks, axis=-1), np.float32)


def _shared_draws(
    sizes: list[tuple[int, int]], rng: np.random.Generator, b: int
) -> Iterator[tuple[slice, int, NDArray[np.float32]]]:
    """Yield for every stratum its images, the row of the draws to start from (cyclically), and draws (b, size).

    `sizes` lists (images of a stratum, number of such strata). Strata of equal size share draws, and each starts from
    another row: inside a resample their draws are independent, and the random numbers, which cost more than the
    products, are drawn once for many strata.
    """
    at = 0
    for size, number in sizes:
        most = max(1, b // 8)  # strata that share draws: far fewer than resamples
        for low in range(0, number, most):
            counts = draws(size, rng, resamples=b)
            for start in rng.permutation(b)[: min(most, number - low)]:
                yield slice(at, at + size), int(start), counts
                at += size


def _sums_by_stratum(
    columns: NDArray[np.float32], sizes: list[tuple[int, int]], rng: np.random.Generator, b: int
) -> NDArray[np.float32]:
    """Return sums (b, k) of b resamples, one matrix product per stratum."""
    sums = np.zeros((b, columns.shape[1]), np.float32)
    for rows, start, counts in _shared_draws(sizes, rng, b):
        part = counts @ columns[rows]
        sums[start:] += part[: b - start]
        sums[:start] += part[b - start :]
    return sums


def _sums_at_once(
    columns: NDArray[np.float32], sizes: list[tuple[int, int]], rng: np.random.Generator, b: int
) -> NDArray[np.float32]:
    """Return sums (b, k) of b resamples by one matrix product for all strata: faster where there are many columns."""
    table = np.empty((b, len(columns)), np.float32)
    for rows, start, counts in _shared_draws(sizes, rng, b):
        table[start:, rows] = counts[: b - start]
        table[:start, rows] = counts[b - start :]
    return table @ columns


def percentile_interval(values: NDArray[np.floating], /, *, level: float = 0.95) -> tuple[Float, Float]:
    """Return the percentile interval along the last axis, of the finite replicates; NaN where `mostly_finite` is false.

    >>> percentile_interval(np.arange(101.0))
    (array(2.5), array(97.5))
    """
    last = values.shape[-1] - 1
    at_low, at_high = last * (1 - level) / 2, last * (1 + level) / 2
    beside = {min(int(at) + step, last) for at in (at_low, at_high) for step in (0, 1)}
    ordered = np.partition(values, sorted(beside), axis=-1)  # only the values beside the two places are in order
    finite, enough = np.isfinite(values).all(axis=-1), mostly_finite(values)

    def between(at: float, share: float) -> Float:
        before, part = int(at), at - int(at)
        after = min(before + 1, last)
        value = ordered[..., before].astype(float) * (1 - part) + ordered[..., after].astype(float) * part
        value = np.where(finite, value, np.nan)
        some = enough & ~finite
        if some.any():
            value[some] = np.nanquantile(np.where(np.isfinite(values[some]), values[some], np.nan), share, axis=-1)
        return value

    return between(at_low, (1 - level) / 2), between(at_high, (1 + level) / 2)


def mostly_finite(values: NDArray[np.floating], /, *, share: float = 0.95) -> NDArray[np.bool_]:
    """Whether at least a share of the replicates along the last axis is finite.

    A ratio whose denominator vanishes in a few resamples says something in all the others.
    """
    return np.isfinite(values).sum(axis=-1) >= share * values.shape[-1]


def bootstrap_p(differences: NDArray[np.floating], /, *, tolerance: float = 1e-6) -> Float:
    """Return the two-sided p-value of "no difference" along the last axis: 2 min(P(d <= 0), P(d >= 0)), at most 1.

    One is added to counts and resamples (Davison and Hinkley 1997, eq. 4.11), so that it is never 0; what lies within
    `tolerance` of 0 (float32 sums) counts on both sides; NaN where `mostly_finite` is false, else of the finite ones.

    >>> float(bootstrap_p(np.ones(9999)))
    0.0002
    """
    finite = np.isfinite(differences)
    below, above = ((finite & (s * differences <= tolerance)).sum(axis=-1) for s in (1, -1))
    p = np.minimum(1.0, 2 * (1 + np.minimum(below, above)) / (1 + finite.sum(axis=-1)))
    return np.where(mostly_finite(differences), p, np.nan)


def wilson(value: float, variance: float, n: int, /, *, freedom: float = np.inf) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share whose estimator has this variance.

    The effective sample size is v (1 - v) / variance (Korn and Graubard 1998); at v = 0 and 1, where the variance
    vanishes, it is `n`: no error in 300 images still leaves 1.3 % possible. A variance of NaN gives NaN. With `freedom`
    the variance is of so few values that Student's t stands for the normal distribution.

    >>> [round(x, 4) for x in wilson(1.0, 0.0, 300)]
    [0.9874, 1.0]
    """
    if np.isnan(variance):
        return np.nan, np.nan
    effective = value * (1 - value) / variance if variance > 0 and 0 < value < 1 else float(n)
    z = Z95 if np.isinf(freedom) else float(stdtrit(max(freedom, 1.0), 0.975))
    z2 = z**2 / effective
    middle = (value + z2 / 2) / (1 + z2)
    half = z / (1 + z2) * np.sqrt(value * (1 - value) / effective + z2 / effective / 4)
    return (0.0 if value == 0 else float(middle - half)), (1.0 if value == 1 else float(middle + half))


def variance_of_mean(influence: NDArray[np.floating], /) -> float:
    """Return var / n, the variance divided by n - 1; NaN for fewer than two values."""
    return float(np.var(influence, ddof=1) / len(influence)) if len(influence) > 1 else np.nan


def normal_test(difference: float, variance: float, /) -> tuple[float, float, float]:
    """Return low, high and two-sided p of a normally distributed difference; p is 1 for exactly no difference.

    >>> [round(x, 3) for x in normal_test(1.96, 1.0)]
    [0.0, 3.92, 0.05]
    """
    error = np.sqrt(variance)
    p = 2 * float(ndtr(-abs(difference) / error)) if error > 0 else (1.0 if difference == 0 else np.nan)
    return float(difference - Z95 * error), float(difference + Z95 * error), p


def holm(p: ArrayLike, /) -> Float:
    """Adjust the p-values of one table for its number of tests (Holm 1979); NaN does not count as a test and stays.

    >>> holm([0.01, 0.04, 0.03, float("nan")])
    array([0.03, 0.06, 0.06,  nan])
    """
    p = np.asarray(p, dtype=float)
    adjusted, tested = np.full(p.shape, np.nan), np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    scaled = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return adjusted


def p_of_interval(value: float, half: float, freedom: float = np.inf, /) -> float:
    """Return the two-sided p-value of no change, of Student's t, from half the width of a 95 % interval.

    >>> round(p_of_interval(1.0, 1.0), 3), round(p_of_interval(2.0, 1.0, 2.0), 3)
    (0.05, 0.013)
    """
    t = abs(value) / half * (Z95 if np.isinf(freedom) else float(stdtrit(freedom, 0.975)))
    return 2 * float(ndtr(-t) if np.isinf(freedom) else stdtr(freedom, -t))
