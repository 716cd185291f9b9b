"""Whether confidence ranks right answers above wrong ones: selective prediction; with influences; free of torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reliquant.measures import detection
from reliquant.measures.intervals import freedom_of, of_difference, p_of_side
from reliquant.measures.stats import Z95, variance_of_mean, wilson


@dataclass(frozen=True)
class Estimate:
    """Hold a value in [0, 1], the influence of each image on it, (n,), and whether each answer is right.

    `turns` (n,) is how much n times the value moves when the answer of an image turns from right to wrong.
    """

    value: float
    influence: NDArray[np.float64]
    correct: NDArray[np.bool_]
    turns: NDArray[np.float64]

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval inside [0, 1]; Student's t of the rarer answers, right or wrong, or by the kurtosis."""
        rarer = min(self.correct.sum(), (~self.correct).sum())
        return self._ends(min(rarer - 1, freedom_of(self.influence)))

    def _ends(self, freedom: float = np.inf) -> tuple[float, float]:
        if not 0 <= self.value <= 1:
            return np.nan, np.nan
        return wilson(self.value, variance_of_mean(self.influence), len(self.influence), freedom=freedom)

    @property
    def flip(self) -> float:
        """How much an answer that turns adds to n times the value, in root mean square over all images.

        A sure answer that turns moves these measures many times as far as a doubtful one, and a sample in which none
        has turned cannot show how far; so any image may be the one.
        """
        if self.correct.all() or not self.correct.any():
            return 1.0
        return float(np.sqrt(np.mean(self.turns**2)))

    def flip_beside(self, other: Estimate, /) -> float:
        """How much a flipped answer adds to n times the change from another estimate: the mean of the two."""
        return (self.flip + other.flip) / 2

    def minus(self, other: Estimate, /) -> tuple[float, float, float]:
        """Return low, high and p of the difference to another estimate on the same images, in the same order."""
        change, n = self.value - other.value, len(self.influence)
        spread = np.std(self.influence) * np.std(other.influence)
        together = float(np.mean(self.influence * other.influence) / spread) if spread > 0 else 0.0
        low, high = of_difference(self.value, self._ends(), other.value, other._ends(), together)
        unseen = Z95 * self.flip_beside(other) / n
        low, high = change - np.hypot(change - low, unseen), change + np.hypot(high - change, unseen)
        return low, high, p_of_side(change, low, high)


def estimated(
    measure: Callable[[NDArray[np.floating], NDArray[np.bool_]], tuple[float, NDArray[np.float64]]],
    confidence: NDArray[np.floating],
    correct: NDArray[np.bool_],
    /,
) -> Estimate:
    """Return the estimate of one of the measures `aurc`, `augrc`, `excess_aurc` and `misclassification_auroc`."""
    value, influence = measure(confidence, correct)
    right = np.asarray(correct, bool)
    return Estimate(value, influence, right, TURNS[measure](np.asarray(confidence, float), right))


def interval_of_gap(value: float, influence: NDArray[np.float64], n: int, /) -> tuple[float, float]:
    """Return the 95 % interval of a mean gap of n answers, each in [-1, 1], as Wilson's of (1 + gap) / 2.

    The variance is that of the n answers and of one more of the largest variance there is for a mean of `value`.
    """
    if np.isnan(value):
        return np.nan, np.nan
    variance = float(np.mean(influence**2)) / len(influence)
    both = (variance * n**2 + 1 - value**2) / (n + 1) / n
    low, high = wilson((1 + value) / 2, both / 4, n)
    return 2 * low - 1, 2 * high - 1


def aurc(confidence: NDArray[np.floating], correct: NDArray[np.bool_], /) -> tuple[float, NDArray[np.float64]]:
    """Return the area under the risk-coverage curve and every image's influence on it, (n,).

    Geifman et al. (2019), eq. 4: the mean over images i of the error rate of the images that are at least as confident
    as i; images of equal confidence enter together. NaN without images.

    >>> aurc(np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, True, False, True]))[0].__round__(4)  # (1/3 + 1/4) / 4
    0.1458
    """
    n = len(confidence)
    if not n:
        return np.nan, np.zeros(0)
    order = np.argsort(-np.asarray(confidence, float), kind="stable")
    c, wrong = np.asarray(confidence, float)[order], 1.0 - np.asarray(correct, float)[order]
    upto = np.searchsorted(-c, -c, side="right")  # images at least as confident
    risk = np.cumsum(wrong)[upto - 1] / upto
    value = float(risk.mean())
    first = np.searchsorted(-c, -c, side="left")

    def from_here_on(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.append(np.cumsum(values[::-1])[::-1], 0.0)[first]

    later, later_risk = from_here_on(1 / upto), from_here_on(risk / upto)
    influence = np.empty(n)
    influence[order] = risk + wrong * later - later_risk - value
    return value, influence - influence.mean()


def excess_aurc(confidence: NDArray[np.floating], correct: NDArray[np.bool_], /) -> tuple[float, NDArray[np.float64]]:
    """Return AURC - the AURC of a perfect ranking, and influences (Geifman et al. 2019, eq. 5).

    The area under the best curve is r + (1 - r) ln(1 - r), r = error rate. What is in excess of it can be compared
    between models of different accuracy.
    """
    value, influence = aurc(confidence, correct)
    if not len(influence):
        return np.nan, influence
    wrong = 1.0 - np.asarray(correct, float)
    r = float(wrong.mean())
    best = r + (1 - r) * np.log1p(-r) if r < 1 else 1.0
    slope = -np.log1p(-r) if r < 1 else 0.0
    return value - float(best), influence - slope * (wrong - r)


def augrc(confidence: NDArray[np.floating], correct: NDArray[np.bool_], /) -> tuple[float, NDArray[np.float64]]:
    """Return the area under the generalized risk-coverage curve, and every image's influence on it, (n,).

    Traub et al. (2024): the mean over thresholds of the share of all images that are wrong and accepted,
    by trapezia; equal to (1 - AUROC) a (1 - a) + (1 - a)^2 / 2 at accuracy a, where the AUROC tells right from wrong
    answers. Unlike in the AURC, a wrong answer weighs alike wherever it stands among those accepted. It lies between 0
    and 1/2. NaN without images.

    >>> augrc(np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, True, False, True]))[0]  # (1/3 x 3/16) + 1/32
    0.09375
    """
    n = len(confidence)
    if not n:
        return np.nan, np.zeros(0)
    c, wrong = np.asarray(confidence, float), 1.0 - np.asarray(correct, float)
    order = np.argsort(c, kind="stable")
    ordered = c[order]
    below, upto = (np.searchsorted(ordered, c, side=side) for side in ("left", "right"))
    sums = np.append(0.0, np.cumsum(wrong[order]))
    accepted = sums[-1] - (sums[below] + sums[upto]) / 2  # wrong answers above each image, half of those level with it
    value = float(accepted.mean() / n)
    influence = accepted / n + wrong * (below + upto) / (2 * n) - 2 * value
    return value, influence - influence.mean()


def flipped_confidence_gap(
    confidence: NDArray[np.floating], correct: NDArray[np.bool_], flipped: NDArray[np.bool_], /
) -> tuple[float, NDArray[np.float64]]:
    """Return mean confidence - accuracy on the flipped images alone, and influences; NaN if none flipped.

    It says whether the predictions that quantization changed are at least unsure ones. Positive = confident and wrong.
    """
    flipped, gap = np.asarray(flipped, bool), np.asarray(confidence, float) - np.asarray(correct, float)
    if not flipped.any():
        return np.nan, np.zeros(len(gap))
    value = float(gap[flipped].mean())
    return value, np.where(flipped, (gap - value) / flipped.mean(), 0.0)


def misclassification_auroc(
    confidence: NDArray[np.floating], correct: NDArray[np.bool_], /
) -> tuple[float, NDArray[np.float64]]:
    """Return the chance that a right answer is more confident than a wrong one, and influences; NaN if none is wrong.

    Hendrycks and Gimpel (2017). The influences are of images drawn from all, right and wrong together.
    """
    correct = np.asarray(correct, bool)
    influence = np.zeros(len(correct))
    if correct.all() or not correct.any():
        return np.nan, influence
    auroc = detection.auroc(np.asarray(confidence)[correct], np.asarray(confidence)[~correct])
    influence[correct] = auroc.id / correct.mean()
    influence[~correct] = auroc.ood / (1 - correct.mean())
    return auroc.value, influence


def _turns_of_aurc(c: NDArray[np.float64], correct: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the error rates that each answer is part of, by how many images they are of: the sum of 1 / number."""
    order = np.argsort(-c, kind="stable")
    upto, first = (np.searchsorted(-c[order], -c[order], side=side) for side in ("right", "left"))
    turns = np.empty(len(c))
    turns[order] = np.append(np.cumsum((1 / upto)[::-1])[::-1], 0.0)[first]
    return turns


def _turns_of_excess_aurc(c: NDArray[np.float64], correct: NDArray[np.bool_]) -> NDArray[np.float64]:
    right = correct.mean()
    return _turns_of_aurc(c, correct) + (np.log(right) if right > 0 else 0.0)


def _turns_of_augrc(c: NDArray[np.float64], correct: NDArray[np.bool_]) -> NDArray[np.float64]:
    below, upto = (np.searchsorted(np.sort(c), c, side=side) for side in ("left", "right"))
    return (below + upto) / (2 * len(c))


def _turns_of_auroc(c: NDArray[np.float64], correct: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the influence of each image as a wrong answer less that as a right one; 0 where all answers are alike."""
    if correct.all() or not correct.any():
        return np.zeros(len(c))
    right, wrong = np.sort(c[correct]), np.sort(c[~correct])
    under_right, under_wrong = _share_below(right, c), _share_below(wrong, c)
    auroc = _share_below(wrong, right).mean()
    return (1 - under_right - auroc) / (1 - correct.mean()) - (under_wrong - auroc) / correct.mean()


def _share_below(ordered: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of ordered numbers that lie below each value; those that equal it count half."""
    below, upto = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    return (below + upto) / (2 * len(ordered))


TURNS: dict[Callable[..., tuple[float, NDArray[np.float64]]], Callable[..., NDArray[np.float64]]] = {
    aurc: _turns_of_aurc,
    augrc: _turns_of_augrc,
    excess_aurc: _turns_of_excess_aurc,
    misclassification_auroc: _turns_of_auroc,
}
