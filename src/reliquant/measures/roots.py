"""Where functions cross 0, many at once; free of torch, and of the start of scipy's optimizers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
EXACT = 1e-13  # height that counts as 0
ROUNDS = 60  # some ten are enough


def root(height: Callable[[Floats], Floats], near: Floats, far: Floats, /) -> Floats:
    """Return points where a height, below 0 at `near` and not below it at `far`, is 0: arrays of one shape.

    The Illinois method (Dowell and Jarratt 1971, BIT 11, p. 168): a line through two points, one on each side of the
    root, leads to the next; the height of a point that stays for a second time counts half. NaN gives NaN.

    >>> root(lambda x: x**2 - 2, np.zeros(1), np.full(1, 2.0)).round(9).tolist()
    [1.414213562]
    """
    below, above = height(near), height(far)
    for _ in range(ROUNDS):
        rise = above - below
        point = far - above * (far - near) / np.where(rise != 0, rise, 1)
        at = height(point)
        if not (np.abs(at) > EXACT).any():
            break
        crossed = (at < 0) != (above < 0)
        near, below = np.where(crossed, far, near), np.where(crossed, above, below / 2)
        far, above = point, at
    return point
