"""Whether confidence ranks right above wrong answers: selective prediction; torch-free, with influences."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reliquant.measures import detection


def aurc(confidence: NDArray[np.floating], correct: NDArray[np.bool_], /) -> tuple[float, NDArray[np.float64]]:
    """Return the area under the risk-coverage curve and every image's influence on it, (n,).

    Geifman et al. (2019), eq. 4: mean over images i of the error rate of those at least as confident as i; images of
    equal confidence enter together. NaN without images.

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
    later, later_risk = (np.append(np.cumsum(x[::-1])[::-1], 0.0)[first] for x in (1 / upto, risk / upto))
    influence = np.empty(n)
    influence[order] = risk + wrong * later - later_risk - value
    return value, influence - influence.mean()


def excess_aurc(confidence: NDArray[np.floating], correct: NDArray[np.bool_], /) -> tuple[float, NDArray[np.float64]]:
    """Return AURC - the AURC of a perfect ranking, and influences (Geifman et al. 2019, eq. 5).

    The best curve has r + (1 - r) ln(1 - r) below it, r = error rate: comparable between models of different accuracy.
    """
    value, influence = aurc(confidence, correct)
    if not len(influence):
        return np.nan, influence
    wrong = 1.0 - np.asarray(correct, float)
    r = float(wrong.mean())
    best = r + (1 - r) * np.log1p(-r) if r < 1 else 1.0
    slope = -np.log1p(-r) if r < 1 else 0.0
    return value - float(best), influence - slope * (wrong - r)


def flipped_confidence_gap(
    confidence: NDArray[np.floating], correct: NDArray[np.bool_], flipped: NDArray[np.bool_], /
) -> tuple[float, NDArray[np.float64]]:
    """Return mean confidence - accuracy on the flipped images alone, and influences; NaN if none flipped.

    Are the predictions that quantization changed at least unsure ones? Positive = confident and wrong.
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
    found = detection.auroc(np.asarray(confidence)[correct], np.asarray(confidence)[~correct])
    influence[correct] = found.id / correct.mean()
    influence[~correct] = found.ood / (1 - correct.mean())
    return found.value, influence
