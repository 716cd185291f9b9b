"""The choice of one option for each layer that costs the least in sum: within a budget, by dynamic programming."""

from __future__ import annotations

from math import gcd

import numpy as np
from numpy.typing import NDArray

UNITS = 20_000  # into so many steps, at most, the dynamic program divides the budget
SLACK = 1e-9  # of a unit: what floating point may add to a cost that fits


class UndecidedError(ValueError):
    """Tell that no option loses more than another in any layer: every allocation would be as good."""


def allocate(
    losses: NDArray[np.float64], costs: NDArray[np.int64], budget: float, /, *, units: int = UNITS
) -> list[int]:
    """Return for each of k layers which of its c options to take: the least sum of losses at costs within the budget.

    `losses` and `costs` are (k, c). This is a dynamic program over the budget in steps of the costs' greatest common
    divisor, where it is exact, or in coarser ones where these would be more than `units`: costs are rounded up then, so
    that the budget holds in any case. Raises ValueError where even the cheapest options cost more than the budget, and
    UndecidedError where in no layer one of several options loses more than another.

    >>> allocate(np.array([[9.0, 1.0], [2.0, 1.0]]), np.array([[2, 4], [2, 4]]), 6)
    [1, 0]
    """
    least = int(costs.min(1).sum())
    if least > budget * (1 + SLACK):
        raise ValueError(f"the cheapest options cost {least}, more than the budget of {budget:g}")
    if losses.shape[1] > 1 and (losses == losses[:, :1]).all():
        raise UndecidedError("no option loses more than another in any layer")
    unit = max(gcd(*costs.ravel().tolist()), budget / units)
    steps = int(budget / unit + SLACK)
    rounded = np.ceil(costs / unit - SLACK).astype(np.int64)
    total = np.zeros(steps + 1)  # least loss within each budget
    taken = []  # for each layer and budget, which option
    for loss, cost in zip(losses, rounded, strict=True):
        found = np.full((len(loss), steps + 1), np.inf)  # by option and budget
        for option, (more, price) in enumerate(zip(loss, cost, strict=True)):
            if price <= steps:
                found[option, price:] = total[: steps + 1 - price] + more
        taken.append(found.argmin(0).astype(np.uint8))
        total = found.min(0)
    if not np.isfinite(total[-1]):  # with costs rounded up not even the cheapest options fit
        return [int(option) for option in costs.argmin(1)]
    options, left = [], steps
    for cost, best in zip(rounded[::-1], taken[::-1], strict=True):
        options.append(int(best[left]))
        left -= int(cost[options[-1]])
    return options[::-1]
