"""A value that explains a variant as it becomes a row: with interval, p-value and replicates; free of torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from reliquant.measures import resampling
from reliquant.measures.row import Row as MeasuredRow
from reliquant.measures.rows import HEADLINE_OF_EXPLAIN
from reliquant.measures.stats import normal_test, strata, variance_of_mean, wilson


class Row(MeasuredRow):
    """Hold one measured value of a dataset, and of which group of layers or ranks and at which logit scale it is."""

    group: str
    scale: str


@dataclass(frozen=True)
class Resamples:
    """Hold what all rows of the same images share: weights (KEPT, n) in each resample, and flips unseen, (KEPT,)."""

    weight: NDArray[np.float32]
    unseen: NDArray[np.float32]


def resamples_of(photographs: NDArray[np.uint64], label: NDArray[np.integer], /) -> Resamples:
    """Return the resamples of images, (n,) each, as `measure` has them: the classes are strata."""
    return Resamples(resampling.weights(photographs, strata(label)), resampling.unseen(photographs))


def row(
    measure: str,
    value: float,
    influence: NDArray[np.floating] | None,
    n: int,
    /,
    *,
    kind: Literal["value", "share", "change"] = "value",
    flip: float = 0.0,
    group: str = "",
    scale: str = "native",
    resamples: Resamples | None = None,
) -> Row:
    """Return a row with its 95 % interval: of a plain `value`, of a `share` (Wilson), or of a `change` (with p).

    `influence` (n,) is that of each image on the value; where it is None there is no interval. `flip` is how much an
    answer that flips unseen adds to n times the value (`bootstrap.Replicated.moved`). Headline measures keep replicates
    where `resamples` of the same images are given.
    """
    low = high = p = np.nan
    kept = None
    if influence is not None:
        variance = variance_of_mean(influence) + (flip / n) ** 2
        if kind == "share":
            low, high = wilson(value, variance, n)
        elif np.isfinite(variance):
            low, high, p = normal_test(value, variance)
        if resamples is not None and re.match(HEADLINE_OF_EXPLAIN, measure) and np.isfinite(value):
            centred = influence - influence.mean()
            kept = resampling.linear(value, centred, resamples.weight) + np.float32(flip / n) * resamples.unseen
    numbers = {"value": value, "low": low, "high": high, "p": p if kind == "change" else np.nan}
    known = {name: float(x) if np.isfinite(x) else None for name, x in numbers.items()}
    return {"measure": measure, "group": group, "scale": scale, **known, "n": n, "replicates": kept}


def share(
    measure: str,
    right: NDArray[np.bool_],
    /,
    *,
    group: str = "",
    scale: str = "native",
    resamples: Resamples | None = None,
) -> Row:
    """Return the row of a share of images, with Wilson's interval; right (n,) says which images count."""
    values = right.astype(float)
    words = {"group": group, "scale": scale, "resamples": resamples}
    return row(measure, float(values.mean()), values, len(values), kind="share", **words)


def mean(measure: str, values: NDArray[np.floating], /, *, group: str = "", scale: str = "native") -> Row:
    """Return the row of the mean of one value per image, (n,)."""
    return row(measure, float(values.mean()), values, len(values), group=group, scale=scale)


def change(
    measure: str,
    after: NDArray[Any],
    before: NDArray[Any],
    /,
    *,
    group: str = "",
    resamples: Resamples | None = None,
) -> Row:
    """Return the row `<measure>_change` of the mean difference on the same images, (n,) each.

    Where both say which images count, one more might have flipped unseen: no change is certain to be 0.
    """
    moved = after.astype(float) - before.astype(float)
    flip = 1.0 if after.dtype == bool else 0.0
    words = {"group": group, "resamples": resamples}
    return row(f"{measure}_change", float(moved.mean()), moved, len(moved), kind="change", flip=flip, **words)
