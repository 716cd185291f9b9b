"""What photographs add to means over queries as answers, and what of it their queries have counted; free of torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Answering:
    """Hold how far a sum over queries rises without each of c photographs, (c,): that of others' queries alone.

    `pair` (m,) numbers pairs of photographs, each once and in order: lower * c + higher; `shared` (m,) is how far the
    queries of the one rise without the other, and the reverse, in sum. Both None where only `rise` is known.
    """

    rise: Floats
    pair: Ints | None = None
    shared: Floats | None = None

    def times(self, factor: float, /) -> Answering:
        """Return all rises times a factor."""
        return Answering(self.rise * factor, self.pair, None if self.shared is None else self.shared * factor)

    def less(self, other: Answering, /) -> Answering:
        """Return the rises of a difference of two sums over the same queries."""
        rise = self.rise - other.rise
        if self.pair is None or self.shared is None or other.pair is None or other.shared is None:
            return Answering(rise)
        return Answering(rise, *added([(self.pair, self.shared), (other.pair, -other.shared)]))

    def together(self, stratum: Ints, /) -> float:
        """Return what two photographs do together, squared and summed over pairs; each photograph's mean taken out.

        The mean is over those of its own stratum (c,), and over all others. 0 where pairs are not known.
        """
        if self.pair is None or self.shared is None:
            return 0.0
        number, size = len(self.rise), np.bincount(stratum)
        low, high = np.divmod(self.pair, number)
        alike, total = stratum[low] == stratum[high], 0.0
        for same, others in ((True, size[stratum] - 1), (False, number - size[stratum])):
            shared = np.where(alike == same, self.shared, 0.0)
            sums = np.bincount(low, shared, number) + np.bincount(high, shared, number)
            total += max(0.0, float(shared @ shared - np.sum(sums**2 / np.maximum(others - 1, 1))))
        return total


def added(parts: Sequence[tuple[Ints, Floats]], /) -> tuple[Ints, Floats]:
    """Return pairs, each once and in order, and the sum of what several parts have for each."""
    pair, place = np.unique(np.concatenate([pair for pair, _ in parts]), return_inverse=True)
    shared = np.bincount(place, np.concatenate([shared for _, shared in parts]), len(pair))
    return pair[shared != 0], shared[shared != 0]


def counted_once(asking: Floats, answering: Answering, stratum: Ints, variance: Callable[[Floats], float], /) -> Floats:
    """Return what photographs add in both roles, (c,), so that what two do together is counted once in its variance.

    The variance of a jackknife that leaves out a photograph in both roles is too large: what two photographs do
    together is in the parts of both (Efron and Stein 1981). That is taken off, by making what they add as answers
    smaller, down to the variance of what they add as they ask.
    """
    found = answering.rise.mean() - answering.rise
    least, both, other = variance(asking), variance(asking + found), variance(found)
    wanted = both - answering.together(stratum)
    if not wanted > least:
        return asking
    half = (both - least - other) / 2  # the covariance of the two roles
    share = (wanted - least) / (np.sqrt(half**2 + other * (wanted - least)) + half)
    return asking + min(float(share), 1.0) * found
