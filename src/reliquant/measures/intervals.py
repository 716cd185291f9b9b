"""Intervals of what a plain bootstrap gets wrong: shares near 0 or 1, changes of few answers, skewed differences.

Free of torch. Everything here says how wide a side of an interval is; how rows move together is said by replicates.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from reliquant.measures.stats import Z95, percentile_interval

Floats = NDArray[np.floating]
Ends = tuple[float, float]


def of_difference(first: float, ends: Ends, second: float, ends_second: Ends, correlation: float, /) -> Ends:
    """Return the interval of first - second from those of each and their correlation (Zou and Donner 2008).

    A side of it is made of the sides that lead there, so that it is as skewed as they are; of two shares with Wilson's
    intervals it is Newcombe's.

    >>> [round(x, 3) for x in of_difference(0.5, (0.2, 0.9), 0.1, (0.0, 0.5), 0.0)]
    [-0.1, 0.812]
    """
    down, up = first - ends[0], ends[1] - first
    down_second, up_second = second - ends_second[0], ends_second[1] - second

    def side(mine: float, other: float) -> float:
        return float(np.sqrt(max(mine**2 + other**2 - 2 * correlation * mine * other, 0.0)))

    return first - second - side(down, up_second), first - second + side(up, down_second)


def of_ratio(top: float, ends: Ends, bottom: float, ends_bottom: Ends, /) -> Ends:
    """Return the interval of top / bottom, both at least 0 and independent, from those of each (Donner and Zou 2012).

    NaN where the bottom is 0, and no upper end but infinity where its interval reaches there.

    >>> [round(x, 3) for x in of_ratio(0.0, (0.0, 0.16), 0.8, (0.76, 0.83))]
    [0.0, 0.2]
    >>> [round(x, 3) for x in of_ratio(0.4, (0.2, 0.6), 0.8, (0.8, 0.8))]
    [0.25, 0.75]
    """
    if not bottom > 0:
        return np.nan, np.nan
    (low, high), (least, most), product = ends, ends_bottom, top * bottom
    lower, upper = low * (2 * top - low), high * (2 * top - high)
    inner = np.sqrt(max(product**2 - lower * most * (2 * bottom - most), 0.0))
    outer = np.sqrt(max(product**2 - upper * least * (2 * bottom - least), 0.0))
    below = float(lower / (product + inner)) if lower > 0 else 0.0
    return below, float((product + outer) / (least * (2 * bottom - least))) if least > 0 else np.inf


def freedom_of(*influences: Floats) -> float:
    """Return the degrees of freedom of the summed variances of the means of influences, (n,) each; at least 1.

    Satterthwaite (1946), with each variance's own variance by the kurtosis of the influences: where few images make
    most of it, as of an AUROC near 1, it is known as badly as that of few images. Infinite where nothing varies.
    """
    total = error = 0.0
    most = np.inf
    for influence in influences:
        n = len(influence)
        centred = influence - influence.mean()
        square = float(np.mean(centred**2))
        most = min(most, n - 1)
        if n > 1 and square > 0:
            variance = square / (n - 1)
            kurtosis = float(np.mean(centred**4)) / square**2
            total, error = total + variance, error + variance**2 * (kurtosis - (n - 3) / (n - 1)) / n
    return max(1.0, min(most, 2 * total**2 / error)) if error > 0 else np.inf


def p_of_side(value: float, low: float, high: float, /) -> float:
    """Return the two-sided p-value of no change: below .05 just where the interval does not hold 0.

    The side of the interval that leads to 0 is taken for 1.96 standard errors. NaN without an interval.

    >>> p_of_side(1.0, 0.0, 9.0).__round__(3)
    0.05
    """
    side = value - low if value > 0 else high - value
    if np.isnan(side):
        return np.nan
    if side <= 0:
        return 1.0 if value == 0 else np.nan
    return 2 * float(ndtr(-Z95 * abs(value) / side))


def stretched(replicates: Floats, value: Floats, low: Floats, high: Floats, /) -> Floats:
    """Move and stretch replicates (..., b), each side by its own factor, so that their percentile interval is given.

    `value`, `low` and `high` are (...). Their order stays, so that they vary together with what they varied with.

    >>> stretched(np.arange(101.0), np.array(0.0), np.array(-1.0), np.array(2.0))[[0, 50, 100]].round(2).tolist()
    [-1.05, 0.0, 2.11]
    """
    middle = np.median(replicates, axis=-1)
    was_low, was_high = percentile_interval(replicates)
    found = replicates - middle[..., None]
    down = _factor(value - low, middle - was_low)
    up = _factor(high - value, was_high - middle)
    return value[..., None] + found * np.where(found < 0, down[..., None], up[..., None])


def _factor(wanted: Floats, found: Floats) -> Floats:
    return np.where(found > 0, wanted / np.where(found > 0, found, 1), 1.0)
