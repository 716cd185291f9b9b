"""How well a score tells in-distribution images from others: AUROC, AUPR, FPR at a TPR, with closed-form intervals.

Every measure takes the scores of in-distribution (ID) and of other (OOD) images; higher = more in-distribution.
Each comes with the influence of every image on it. Its variance is var(id) / n_id + var(ood) / n_ood of the influences;
the variance of a difference on the same images is that sum for the differences of the influences. For the AUROC these
are exactly DeLong's. Intervals are wider than the normal ones where few images make most of the variance.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from reliquant.measures.intervals import freedom_of, of_difference, p_of_side
from reliquant.measures.stats import Z95, variance_of_mean, wilson

Scores = NDArray[np.floating]
FEWEST = 3  # positives beyond a threshold, on average, of which an FPR gets an interval


@dataclass(frozen=True)
class Estimate:
    """Hold a value and the influence of each ID and each OOD image on it.

    `negatives` is the number of images of which an FPR is a share, 0 for other measures.
    """

    value: float
    id: NDArray[np.float64]
    ood: NDArray[np.float64]
    negatives: int = 0

    @property
    def variance(self) -> float:
        """Variance of the value; NaN with fewer than two images on a side."""
        return variance_of_mean(self.id) + variance_of_mean(self.ood)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval inside [0, 1], Wilson's with Student's t."""
        freedom = freedom_of(self.id, self.ood)
        return wilson(self.value, self.variance, min(len(self.id), len(self.ood)), freedom=freedom)

    def minus(self, other: Estimate, /) -> tuple[float, float, float, float]:
        """Return difference, low, high, p against another estimate on the same images in the same order.

        The interval is that of the paired influences and of what no image shows (`unseen`), by Student's t. Where
        both values are at an end of their range, it is made of their own intervals.
        """
        change, moved = self.value - other.value, (self.id - other.id, self.ood - other.ood)
        if self._at_end and other._at_end:
            low, high = of_difference(self.value, self.interval, other.value, other.interval, 0.0)
            return change, low, high, p_of_side(change, low, high)
        variance = sum(variance_of_mean(side) for side in moved) + self.unseen(other) ** 2
        freedom = freedom_of(*moved)
        half = float((Z95 if np.isinf(freedom) else stdtrit(freedom, 0.975)) * np.sqrt(variance))
        return change, change - half, change + half, p_of_side(change, change - half, change + half)

    def unseen(self, other: Estimate, /) -> float:
        """How far one more image might move the difference from another estimate, as a standard error.

        Of FPRs that is a negative that crosses the threshold; of other measures an image on each side that moves as far
        as the farthest: where few images make the difference, others like them are easily missed.
        """
        if self.negatives:
            return 1 / self.negatives
        if self._at_end and other._at_end:
            _, low, high, _ = self.minus(other)
            return (high - low) / 2 / Z95
        sides = (self.id - other.id, self.ood - other.ood)
        return float(np.hypot(*(np.abs(side).max() / len(side) for side in sides)))

    @property
    def _at_end(self) -> bool:
        """Whether no image says how sure the value is: the scores of the two sides do not overlap."""
        return not self.negatives and not self.id.any() and not self.ood.any()


def auroc(id_scores: Scores, ood_scores: Scores, /) -> Estimate:
    """Estimate P(ID score > OOD score) + P(equal) / 2; influence by DeLong et al. (1988), as ranks.

    >>> auroc(np.array([3.0, 2.0]), np.array([1.0, 2.0])).value
    0.875
    """
    return _auroc(*_sides(id_scores, ood_scores))


def aupr_in(id_scores: Scores, ood_scores: Scores, /) -> Estimate:
    """Estimate the average precision with ID as the positive class: sum_t (R_t - R_{t-1}) P_t, without interpolation.

    Depends on the share of ID images in the set: compare only on the same sets.

    >>> aupr_in(np.array([3.0, 1.0]), np.array([2.0])).value.__round__(4)  # (1 + 2/3) / 2
    0.8333
    """
    return Estimate(*_average_precision(*_sides(id_scores, ood_scores)))


def aupr_out(id_scores: Scores, ood_scores: Scores, /) -> Estimate:
    """Estimate the average precision with OOD as the positive class, ranked by minus the score."""
    return _aupr_out(*_sides(id_scores, ood_scores))


def fpr95_id_positive(id_scores: Scores, ood_scores: Scores, /) -> Estimate:
    """Estimate the share of OOD images accepted at the first threshold that accepts 95 % of the ID images.

    >>> fpr95_id_positive(np.arange(1.0, 21.0), np.array([1.0, 2.0, 3.0, 0.0])).value
    0.5
    """
    return fpr(id_scores, ood_scores)


def fpr95_ood_positive(id_scores: Scores, ood_scores: Scores, /) -> Estimate:
    """Estimate the share of ID images rejected at the first threshold that rejects 95 % of the OOD images (OpenOOD)."""
    return fpr(id_scores, ood_scores, positive="ood")


def fpr(
    id_scores: Scores, ood_scores: Scores, /, *, tpr: float = 0.95, positive: Literal["id", "ood"] = "id"
) -> Estimate:
    """Estimate the share of negatives at the first threshold that takes a share `tpr` of the positives.

    >>> fpr(np.arange(1.0, 21.0), np.array([1.0, 2.0, 3.0, 0.0]), tpr=0.9).value
    0.25
    """
    return _fpr_of(*_sides(id_scores, ood_scores), tpr, positive)


def estimates(id_scores: Scores, ood_scores: Scores, /, *, only: Collection[str] | None = None) -> dict[str, Estimate]:
    """Return the estimates of all measures by name, or of some; scores are sorted once for all of them."""
    sides = _sides(id_scores, ood_scores)
    return {name: measure(*sides) for name, measure in _BY_NAME.items() if only is None or name in only}


@dataclass(frozen=True)
class _Side:
    """Hold the scores of one side's images, as they came and in ascending order."""

    scores: NDArray[np.float64]
    ordered: NDArray[np.float64]

    def __neg__(self) -> _Side:
        return _Side(-self.scores, -self.ordered[::-1])


def _sides(id_scores: Scores, ood_scores: Scores) -> tuple[_Side, _Side]:
    sides = []
    for name, scores in (("ID", id_scores), ("OOD", ood_scores)):
        array = np.asarray(scores, dtype=float)
        if array.ndim != 1 or not array.size:
            raise ValueError(f"need at least one {name} score in one axis, got shape {array.shape}")
        if np.isnan(array).any():
            raise ValueError(f"{int(np.isnan(array).sum())} of {array.size} {name} scores are NaN")
        sides.append(_Side(array, np.sort(array)))
    return sides[0], sides[1]


def _auroc(known: _Side, unknown: _Side) -> Estimate:
    wins_id, wins_ood = _win_share(known.scores, unknown.ordered), 1 - _win_share(unknown.scores, known.ordered)
    value = float(wins_id.mean())
    return Estimate(value, wins_id - value, wins_ood - value)


def _win_share(x: NDArray[np.float64], ordered: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each x the share of `ordered` that lies below it; equal values count half."""
    below, upto = (np.searchsorted(ordered, x, side=s) for s in ("left", "right"))
    return (below + upto) / (2 * len(ordered))


def _at_least(ordered: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.int64]:
    """Count for each x the values of `ordered` that are not below it."""
    return len(ordered) - np.searchsorted(ordered, x, side="left")


def _aupr_in(known: _Side, unknown: _Side) -> Estimate:
    return Estimate(*_average_precision(known, unknown))


def _aupr_out(known: _Side, unknown: _Side) -> Estimate:
    value, ood, id_ = _average_precision(-unknown, -known)
    return Estimate(value, id_, ood)


def _average_precision(positive: _Side, negative: _Side) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Return AP = mean_i TP_i / (TP_i + FP_i) over positives, and n times its derivative by each image's weight."""
    pos, neg = positive.ordered, negative.ordered
    tp, fp = _at_least(pos, pos).astype(float), _at_least(neg, pos).astype(float)
    precision = tp / (tp + fp)
    value = float(precision.mean())
    gain = np.append(0.0, np.cumsum(fp / (tp + fp) ** 2))  # from one more positive above the thresholds 0 to i
    loss = np.append(0.0, np.cumsum(tp / (tp + fp) ** 2))
    upto_p, upto_n = (np.searchsorted(pos, side.scores, side="right") for side in (positive, negative))
    own = precision[np.searchsorted(pos, positive.scores, side="left")]
    by_positive = own + gain[upto_p] - value
    by_negative = -loss[upto_n] * (len(neg) / len(pos))
    return value, by_positive - by_positive.mean(), by_negative - by_negative.mean()


def _fpr_of(known: _Side, unknown: _Side, tpr: float, positive: str) -> Estimate:
    if positive == "id":
        return Estimate(*_fpr(known, unknown, tpr), negatives=len(unknown.scores))
    value, ood, id_ = _fpr(-unknown, -known, tpr)
    return Estimate(value, id_, ood, negatives=len(known.scores))


def _fpr(positive: _Side, negative: _Side, level: float) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Return the FPR at the first TPR >= level, and influences by the slope of the ROC curve there (Woodruff 1952).

    A threshold that rests on fewer than `FEWEST` positives has influences of NaN, so no interval.
    """
    pos, neg = positive.ordered, negative.ordered

    def threshold(tpr: float) -> np.float64:
        needed = int(np.ceil(tpr * len(pos) - 1e-9))
        return pos[len(pos) - min(max(needed, 1), len(pos))]

    at = threshold(level)
    accepted, kept = negative.scores >= at, positive.scores >= at
    h = Z95 * np.sqrt(level * (1 - level) / len(pos))
    low, high = max(0.0, level - h), min(1.0, level + h)
    share_low, share_high = (_at_least(neg, np.array([threshold(x)]))[0] / len(neg) for x in (low, high))
    slope = (share_high - share_low) / (high - low) if (1 - level) * len(pos) >= FEWEST else np.nan
    value = float(accepted.mean())
    return value, -slope * (kept - kept.mean()), accepted.astype(float) - value


_BY_NAME: dict[str, Callable[[_Side, _Side], Estimate]] = {
    "auroc": _auroc,
    "aupr_in": _aupr_in,
    "aupr_out": _aupr_out,
    "fpr95_id_positive": partial(_fpr_of, tpr=0.95, positive="id"),
    "fpr95_ood_positive": partial(_fpr_of, tpr=0.95, positive="ood"),
    "fpr90_id_positive": partial(_fpr_of, tpr=0.90, positive="id"),
    "fpr90_ood_positive": partial(_fpr_of, tpr=0.90, positive="ood"),
    "fpr99_id_positive": partial(_fpr_of, tpr=0.99, positive="id"),
    "fpr99_ood_positive": partial(_fpr_of, tpr=0.99, positive="ood"),
}


def _alone(name: str, id_scores: Scores, ood_scores: Scores) -> Estimate:
    return _BY_NAME[name](*_sides(id_scores, ood_scores))


MEASURES: dict[str, Callable[[Scores, Scores], Estimate]] = {name: partial(_alone, name) for name in _BY_NAME}
