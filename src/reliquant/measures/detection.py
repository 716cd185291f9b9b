"""How well a score tells in-distribution images from others: AUROC, AUPR, FPR at 95 % TPR, with closed-form intervals.

Every measure takes the scores of in-distribution (ID) and of other (OOD) images; higher = more in-distribution.
Each comes with the influence of every image on it. Its variance is var(id) / n_id + var(ood) / n_ood of the influences;
the variance of a difference on the same images is that sum for the differences of the influences. For the AUROC this is
exactly DeLong's method.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reliquant.measures.stats import Z95, normal_test, variance_of_mean, wilson

Scores = NDArray[np.floating]


@dataclass(frozen=True)
class Estimate:
    """Hold a value and the influence of each ID and each OOD image on it."""

    value: float
    id: NDArray[np.float64]
    ood: NDArray[np.float64]

    @property
    def variance(self) -> float:
        """Variance of the value; NaN with fewer than two images on a side."""
        return variance_of_mean(self.id) + variance_of_mean(self.ood)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval inside [0, 1]."""
        return wilson(self.value, self.variance, min(len(self.id), len(self.ood)))

    def minus(self, other: Estimate, /) -> tuple[float, float, float, float]:
        """Return difference, low, high, p against another estimate on the same images in the same order."""
        variance = variance_of_mean(self.id - other.id) + variance_of_mean(self.ood - other.ood)
        return (self.value - other.value, *normal_test(self.value - other.value, variance))


def auroc(id_scores: Scores, ood_scores: Scores, /) -> Estimate:
    """Estimate P(ID score > OOD score) + P(equal) / 2; influence by DeLong et al. (1988), as ranks.

    >>> auroc(np.array([3.0, 2.0]), np.array([1.0, 2.0])).value
    0.875
    """
    ids, oods = _checked(id_scores, ood_scores)
    wins_id, wins_ood = _win_share(ids, np.sort(oods)), 1 - _win_share(oods, np.sort(ids))
    value = float(wins_id.mean())
    return Estimate(value, wins_id - value, wins_ood - value)


def aupr_in(id_scores: Scores, ood_scores: Scores, /) -> Estimate:
    """Estimate the average precision with ID as the positive class: sum_t (R_t - R_{t-1}) P_t, without interpolation.

    Depends on the share of ID images in the set: compare only on the same sets.

    >>> aupr_in(np.array([3.0, 1.0]), np.array([2.0])).value.__round__(4)  # (1 + 2/3) / 2
    0.8333
    """
    return Estimate(*_average_precision(*_checked(id_scores, ood_scores)))


def aupr_out(id_scores: Scores, ood_scores: Scores, /) -> Estimate:
    """Estimate the average precision with OOD as the positive class, ranked by minus the score."""
    ids, oods = _checked(id_scores, ood_scores)
    value, ood, id_ = _average_precision(-oods, -ids)
    return Estimate(value, id_, ood)


def fpr95_id_positive(id_scores: Scores, ood_scores: Scores, /) -> Estimate:
    """Estimate the share of OOD images accepted at the first threshold that accepts 95 % of the ID images.

    >>> fpr95_id_positive(np.arange(1.0, 21.0), np.array([1.0, 2.0, 3.0, 0.0])).value
    0.5
    """
    return Estimate(*_fpr(*_checked(id_scores, ood_scores)))


def fpr95_ood_positive(id_scores: Scores, ood_scores: Scores, /) -> Estimate:
    """Estimate the share of ID images rejected at the first threshold that rejects 95 % of the OOD images (OpenOOD)."""
    ids, oods = _checked(id_scores, ood_scores)
    value, ood, id_ = _fpr(-oods, -ids)
    return Estimate(value, id_, ood)


MEASURES: dict[str, Callable[[Scores, Scores], Estimate]] = {
    f.__name__: f for f in (auroc, aupr_in, aupr_out, fpr95_id_positive, fpr95_ood_positive)
}


def mean(estimates: list[Estimate], /) -> Estimate:
    """Average the same measure over OOD sets that share their ID images (near-OOD mean, far-OOD mean).

    OOD influences of different sets are independent: scaled so that their joint variance is that of the mean.
    """
    k, total = len(estimates), sum(len(e.ood) for e in estimates)
    ood = np.concatenate([e.ood * (total / (k * len(e.ood))) for e in estimates])
    return Estimate(float(np.mean([e.value for e in estimates])), np.mean([e.id for e in estimates], axis=0), ood)


def _checked(id_scores: Scores, ood_scores: Scores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    arrays = []
    for name, scores in (("ID", id_scores), ("OOD", ood_scores)):
        array = np.asarray(scores, dtype=float)
        if array.ndim != 1 or not array.size:
            raise ValueError(f"need at least one {name} score in one axis, got shape {array.shape}")
        if np.isnan(array).any():
            raise ValueError(f"{int(np.isnan(array).sum())} of {array.size} {name} scores are NaN")
        arrays.append(array)
    return arrays[0], arrays[1]


def _win_share(x: NDArray[np.float64], ordered: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each x the share of `ordered` that lies below it; equal values count half."""
    below, upto = (np.searchsorted(ordered, x, side=s) for s in ("left", "right"))
    return (below + upto) / (2 * len(ordered))


def _at_least(ordered: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.int64]:
    """Count for each x the values of `ordered` that are not below it."""
    return len(ordered) - np.searchsorted(ordered, x, side="left")


def _average_precision(
    positive: NDArray[np.float64], negative: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Return AP = mean_i TP_i / (TP_i + FP_i) over positives, and n times its derivative by each image's weight."""
    pos, neg = np.sort(positive), np.sort(negative)
    tp, fp = _at_least(pos, pos).astype(float), _at_least(neg, pos).astype(float)
    precision = tp / (tp + fp)
    value = float(precision.mean())
    gain = np.append(0.0, np.cumsum(fp / (tp + fp) ** 2))  # from one more positive above the thresholds 0 to i
    loss = np.append(0.0, np.cumsum(tp / (tp + fp) ** 2))
    upto_p, upto_n = (np.searchsorted(pos, x, side="right") for x in (positive, negative))
    own = precision[np.searchsorted(pos, positive, side="left")]
    by_positive = own + gain[upto_p] - value
    by_negative = -loss[upto_n] * (len(neg) / len(pos))
    return value, by_positive - by_positive.mean(), by_negative - by_negative.mean()


def _fpr(
    positive: NDArray[np.float64], negative: NDArray[np.float64], level: float = 0.95
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Return the FPR at the first TPR >= level, and influences by the slope of the ROC curve there (Woodruff 1952)."""
    pos, neg = np.sort(positive), np.sort(negative)

    def threshold(tpr: float) -> np.float64:
        needed = int(np.ceil(tpr * len(pos) - 1e-9))
        return pos[len(pos) - min(max(needed, 1), len(pos))]

    at = threshold(level)
    accepted, kept = negative >= at, positive >= at
    h = Z95 * np.sqrt(level * (1 - level) / len(pos))
    low, high = max(0.0, level - h), min(1.0, level + h)
    share_low, share_high = (_at_least(neg, np.array([threshold(x)]))[0] / len(neg) for x in (low, high))
    slope = (share_high - share_low) / (high - low)
    value = float(accepted.mean())
    return value, -slope * (kept - kept.mean()), accepted.astype(float) - value
