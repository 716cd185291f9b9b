"""How far one answer that flips, or turns from right to wrong, moves a measure, seen or not; free of torch.

Resamples vary the answers that a sample holds. Where hardly any is wrong, or hardly any differs from FP32's, they vary
too little, and intervals count one more (`bootstrap.Replicated.moved`, `level`), whose size is said here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Columns = dict[str, NDArray[np.float64]]  # part -> (n, k): its sums over images make one or more measures
SHARES = (
    *("accuracy", "top5_accuracy", "balanced_accuracy", "mean_corruption_error"),
    *("agreement", "flips_right_to_wrong", "flips_wrong_to_right"),
)


def sizes(
    size: Callable[[Columns, str], float], cells: Sequence[Sequence[Columns]], names: Sequence[str], /
) -> NDArray[np.float64]:
    """Return a size of each measure of each cell, (cells, measures): the mean over variant and FP32."""
    return np.asarray([[[size(columns, name) for name in names] for columns in cell] for cell in cells]).mean(axis=1)


def flip_size(columns: Columns, name: str, /) -> float:
    """Return how far wrong answers lie from the mean right one in root mean square; 1 for shares, or without any."""
    right = columns["accuracy"][:, 0] > 0
    if name in SHARES or name not in columns or right.all() or not right.any():
        return 1.0
    column = columns[name][:, 0]
    return float(np.sqrt(np.mean((column[~right] - column[right].mean()) ** 2)))


def turn_size(columns: Columns, name: str, /) -> float:
    """Return how far an answer that turns moves n times a measure, in root mean square; 1 for shares.

    It is that of the wrong answers and of one more, which may be any: a sample of hardly any wrong answer cannot show
    how far a sure one moves it.
    """
    right = columns["accuracy"][:, 0] > 0
    if name == "balanced_accuracy" and right.any():
        return float(np.sqrt(np.mean(columns[name][right] ** 2)))
    if name not in ("nll", "brier"):
        return 1.0
    square = _turns(columns, name) ** 2
    return float(np.sqrt((square[~right].sum() + square.mean()) / ((~right).sum() + 1)))


def _turns(columns: Columns, name: str, /) -> NDArray[np.float64]:
    """Return how much larger NLL or Brier score of each image, (n,), is with a wrong answer than with a right one.

    One of the two is a guess: that the next likeliest class has all that the likeliest one leaves.
    """
    right, own = columns["accuracy"][:, 0] > 0, columns[name][:, 0]
    c = columns["confidence_gap"][:, 0] + right
    rest = np.clip(1 - c, 2.0**-25, np.maximum(c, 2.0**-25))  # half of what separates a float32 from 1
    if name == "nll":
        as_wrong, as_right = -np.log(rest), -np.log(np.maximum(c, 2.0**-25))
    else:
        as_wrong, as_right = c**2 + (1 - rest) ** 2, (1 - c) ** 2 + rest**2
    return np.where(right, as_wrong - own, own - as_right)
