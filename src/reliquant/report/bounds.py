"""Bounds that each hold with an asked confidence, from 95 % intervals and from replicates of pairs; free of torch."""

from __future__ import annotations

import numpy as np
from scipy.special import stdtrit

from reliquant.measures.stats import Z95
from reliquant.report.evidence import FREEDOM

LEAST, MOST = 0.5, 0.9999  # confidences that can be asked for: the interval of a row says nothing of rarer errors


def errors_of(confidence: float, /) -> float:
    """Return how many standard errors a bound of this confidence lies away, where the error itself is estimated.

    Raises ValueError for a confidence that cannot be asked for.

    >>> round(errors_of(0.95), 3), round(errors_of(0.975), 3)
    (1.653, 1.972)
    """
    if not LEAST < confidence <= MOST:
        raise ValueError(f"--confidence {confidence:g}: must be above {LEAST:g} and at most {MOST:g}, such as 0.95")
    return float(stdtrit(FREEDOM, confidence))


def bounds(value: float, low: float, high: float, /, *, confidence: float) -> tuple[float, float]:
    """Return a lower and an upper bound, each of this confidence, from the 95 % interval of a value.

    The interval's sides are taken for 1.96 standard errors. A skewed interval is that of a score, as Wilson's of a
    share is: z errors away, half its width is (A z^2 + M^2 z^4)^(1/2) and its middle M z^2 off the value, and both of
    its sides at 1.96 say what A and M are. A side is that, or the side times z / 1.96 where this is longer: so a bound
    that is asked for with more confidence than the interval has grows with z^2 where no answer of n is wrong.

    >>> [round(end, 4) for end in bounds(0.1, 0.0, 0.2, confidence=0.95)]
    [0.0157, 0.1843]
    >>> [round(end, 4) for end in bounds(1.0, 0.99, 1.0, confidence=0.999)]
    [0.9744, 1.0]
    """
    ratio = errors_of(confidence) / Z95
    down, up = max(value - low, 0.0), max(high - value, 0.0)
    off = (up - down) / 2 * ratio**2
    half = float(np.sqrt(down * up * ratio**2 + off**2))
    return value - max(half - off, down * ratio), value + max(half + off, up * ratio)


def bounds_of_pairs(value: float, error: float, one: float, /, *, confidence: float) -> tuple[float, float]:
    """Return both bounds of a difference of pairs, from its standard error and by how much `one` answer moves it.

    Where hardly any answer differs, a normal interval is too narrow: none of n that differs still leaves some
    elsewhere. A side is that of a score, half of z^2 answers and the root of z^2 error^2 + z^4 one^2 / 4: for counts
    of rare events it is the score interval of a Poisson mean. `one` is 0 for measures that are no shares.

    >>> [round(end, 5) for end in bounds_of_pairs(0.0, 0.0, 0.001, confidence=0.95)]
    [-0.00273, 0.00273]
    """
    z = errors_of(confidence)
    side = z**2 * one / 2 + float(np.sqrt((z * error) ** 2 + (z**2 * one / 2) ** 2))
    return value - side, value + side
