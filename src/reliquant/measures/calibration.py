"""Whether confidences mean what they say: errors with and without bins, proper scores; free of torch.

`confidence` is the largest softmax probability of each image, `correct` whether its class is the true one, both (n,).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from reliquant.measures.accuracy import labels_within

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]


def bins_of(confidence: Floats, /, *, bins: int = 15) -> NDArray[np.int64]:
    """Number the equal-width bin (lo, hi] of each confidence, (n,); 0 falls into the first, 1 into the last.

    Raises ValueError for NaN and for values outside [0, 1].

    >>> bins_of(np.array([0.0, 0.2, 0.21, 1.0]), bins=5)
    array([0, 0, 1, 4])
    """
    values = np.asarray(confidence, dtype=float)
    if np.isnan(values).any():
        raise ValueError(f"{int(np.isnan(values).sum())} of {values.size} confidences are NaN")
    if values.size and (values.min() < 0 or values.max() > 1 + 1e-6):
        raise ValueError(f"confidences must lie in [0, 1], found {values.min():.4g} to {values.max():.4g}")
    inner = np.linspace(0, 1, bins + 1)[1:-1]
    return np.searchsorted(inner, values, side="left")


def equal_mass_bins(confidence: Floats, /, *, bins: int = 15) -> NDArray[np.int64]:
    """Number bins that hold as equal numbers of images as ties allow, (n,); equal confidences share a bin.

    >>> equal_mass_bins(np.array([0.1, 0.9, 0.2, 0.8]), bins=2)
    array([0, 1, 0, 1])
    """
    bins_of(confidence)
    ordered = np.sort(confidence)
    first = np.searchsorted(ordered, confidence, side="left")
    return first * bins // max(1, len(ordered))


@dataclass(frozen=True)
class Reliability:
    """Hold a reliability diagram: per bin its edges, mean confidence, accuracy (NaN if empty) and number of images."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    n: NDArray[np.int64]


def reliability(confidence: Floats, correct: Bools, /, *, bins: int = 15) -> Reliability:
    """Return the data of a reliability diagram in equal-width bins (Guo et al. 2017, figure 1)."""
    n, conf, right = _sums(confidence, correct, bins_of(confidence, bins=bins), bins)
    edges = np.linspace(0, 1, bins + 1)
    filled = np.where(n > 0, n, np.nan)
    return Reliability(edges[:-1], edges[1:], conf / filled, right / filled, n)


def ece(confidence: Floats, correct: Bools, /, *, bins: int = 15) -> float:
    """Return sum_b n_b / n |accuracy_b - confidence_b| over equal-width bins (Guo et al. 2017, eq. 3); NaN if n = 0.

    >>> round(ece(np.array([0.9, 0.9, 0.6]), np.array([True, False, True])), 4)  # 2/3 * 0.4 + 1/3 * 0.4
    0.4
    """
    return _binned_error(confidence, correct, bins_of(confidence, bins=bins), bins)


def ece_equal_mass(confidence: Floats, correct: Bools, /, *, bins: int = 15) -> float:
    """Return the ECE over bins of equal numbers of images (Nguyen and O'Connor 2015)."""
    return _binned_error(confidence, correct, equal_mass_bins(confidence, bins=bins), bins)


def mce(confidence: Floats, correct: Bools, /, *, bins: int = 15) -> float:
    """Return the largest |accuracy_b - confidence_b| of the bins that hold images (Guo et al. 2017, eq. 5)."""
    n, conf, right = _sums(confidence, correct, bins_of(confidence, bins=bins), bins)
    return float(np.max(np.abs(right - conf)[n > 0] / n[n > 0])) if n.any() else np.nan


def debiased_ce(confidence: Floats, correct: Bools, /, *, bins: int = 15) -> float:
    """Return the root of the debiased squared calibration error over equal-mass bins (Kumar et al. 2019, def. 5.1).

    sum_b n_b / n [(accuracy_b - confidence_b)^2 - accuracy_b (1 - accuracy_b) / (n_b - 1)]; a negative sum gives 0.
    Bins of one image say nothing about their own noise and are left out; NaN if no bin is larger.
    """
    n, conf, right = _sums(confidence, correct, equal_mass_bins(confidence, bins=bins), bins)
    keep = n > 1
    if not keep.any():
        return np.nan
    m = n[keep]
    accuracy, gap = right[keep] / m, (right - conf)[keep] / m
    return float(np.sqrt(max(0.0, np.sum(m * (gap**2 - accuracy * (1 - accuracy) / (m - 1))) / m.sum())))


def classwise_ece(probabilities: Floats, label: NDArray[np.integer], /, *, bins: int = 15) -> float:
    """Return the mean over classes k of the ECE of the answer "it is class k" (Kull et al. 2019, eq. 3).

    The bins have equal widths.
    """
    return float(np.mean([ece(p, right, bins=bins) for p, right in _by_class(probabilities, label)]))


def ace(probabilities: Floats, label: NDArray[np.integer], /, *, bins: int = 15) -> float:
    """Return the adaptive calibration error, the mean gap of all equal-mass bins of all classes (Nixon et al. 2019)."""
    return float(np.mean([_mean_gap(p, right, bins) for p, right in _by_class(probabilities, label)]))


def errors_of_classes(probabilities: Floats, label: NDArray[np.integer], /, *, bins: int = 15) -> tuple[float, float]:
    """Return `classwise_ece` and `ace` of a table (n, c), of which each class is read once.

    >>> table, label = np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1])
    >>> errors_of_classes(table, label) == (classwise_ece(table, label), ace(table, label))
    True
    """
    each = [(ece(p, right, bins=bins), _mean_gap(p, right, bins)) for p, right in _by_class(probabilities, label)]
    return float(np.mean([one for one, _ in each])), float(np.mean([gap for _, gap in each]))


def _mean_gap(p: Floats, right: Bools, bins: int) -> float:
    """Return the mean gap of the equal-mass bins of one class; equal confidences share a bin."""
    n, order = len(p), np.argsort(p)
    ordered = p[order]
    edges = -(-np.arange(bins + 1) * n // bins)
    inner = edges[1:-1]
    split = ordered[inner - 1] == ordered[np.minimum(inner, n - 1)]
    edges[1:-1] = np.where(split, np.searchsorted(ordered, ordered[np.minimum(inner, n - 1)], "right"), inner)
    gap = ordered.astype(float) - right[order]
    sums, size = np.diff(np.append(0.0, np.cumsum(gap))[edges]), np.diff(edges)
    filled = size > 0
    return float(np.mean(np.abs(sums[filled]) / size[filled]))


def confidence_gap(confidence: Floats, correct: Bools, /) -> float:
    """Return mean confidence - accuracy: positive = over-confident, negative = under-confident; NaN if n = 0."""
    return float(np.mean(confidence, dtype=float) - np.mean(correct)) if len(confidence) else np.nan


def negative_log_likelihoods(logits: Floats, label: NDArray[np.integer], /) -> NDArray[np.float64]:
    """Return -ln p of the true class of each image in nats from logits, (n,); finite even where a softmax underflows.

    >>> negative_log_likelihoods(np.array([[0.0, 2000.0]]), np.array([0]))
    array([2000.])
    """
    labels_within(label, logits.shape[1])
    return -np.take_along_axis(log_softmax(logits.astype(float), axis=1), label[:, None], axis=1)[:, 0]


def brier_scores(probabilities: Floats, label: NDArray[np.integer], /) -> NDArray[np.float64]:
    """Return sum_k (p_k - y_k)^2 of each image, (n,), between 0 and 2 (Brier 1950).

    >>> brier_scores(np.array([[0.75, 0.25]]), np.array([0]))
    array([0.125])
    """
    labels_within(label, probabilities.shape[1])
    p = probabilities.astype(float)
    own = np.take_along_axis(p, label[:, None], axis=1)[:, 0]
    return (p * p).sum(axis=1) - 2 * own + 1


def brier_decomposition(confidence: Floats, correct: Bools, /, *, bins: int = 15) -> dict[str, float]:
    """Split mean (confidence - correct)^2 = reliability - resolution + uncertainty + within (Murphy 1973).

    reliability = weighted squared gap of the bins, resolution = spread of their accuracies, uncertainty = a (1 - a);
    within = variance of confidence inside bins - 2 x its covariance with correct (Stephenson et al. 2008), which makes
    the identity exact for confidences that vary inside a bin.
    """
    c, y = np.asarray(confidence, float), np.asarray(correct, float)
    index = bins_of(c, bins=bins)
    n, conf, right = _sums(c, y, index, bins)
    filled = np.maximum(n, 1)
    share, mean_c, mean_y, all_y = n / max(1, len(c)), conf / filled, right / filled, float(y.mean())
    inside = c - mean_c[index]
    return {
        "reliability": float(np.sum(share * (mean_c - mean_y) ** 2)),
        "resolution": float(np.sum(share * (mean_y - all_y) ** 2)),
        "uncertainty": all_y * (1 - all_y),
        "within": float(np.mean(inside**2) - 2 * np.mean(inside * (y - mean_y[index]))),
    }


def _by_class(probabilities: Floats, label: NDArray[np.integer]) -> Iterator[tuple[Floats, Bools]]:
    """Yield for each class its probability and whether it is the true one, (n,) each."""
    labels_within(label, probabilities.shape[1])
    for low in range(0, probabilities.shape[1], 16):  # copies that fit the cache: columns lie far apart in memory
        for k, p in enumerate(np.ascontiguousarray(probabilities[:, low : low + 16].T), start=low):
            yield p, label == k


def _sums(
    confidence: Floats, correct: NDArray[np.generic], index: NDArray[np.int64], bins: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return for each bin its number of images, the sum of their confidences and the number of correct ones."""
    n: NDArray[Any] = np.bincount(index, minlength=bins)
    conf: NDArray[Any] = np.bincount(index, np.asarray(confidence, float), minlength=bins)
    right: NDArray[Any] = np.bincount(index, np.asarray(correct, float), minlength=bins)
    return n, conf, right


def _binned_error(confidence: Floats, correct: Bools, index: NDArray[np.int64], bins: int) -> float:
    """Return sum_b n_b / n |accuracy_b - confidence_b| over given bins."""
    n, conf, right = _sums(confidence, correct, index, bins)
    return float(np.abs(right - conf).sum() / n.sum()) if n.any() else np.nan
