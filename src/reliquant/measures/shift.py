"""What distribution shift and spurious cues cost a model, and what quantization adds to that; free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

NEAREST = 1e-4  # to an accuracy of 0 or 1, on logit axes
Array = Any  # float or array of floats, such as bootstrap replicates: every function here broadcasts


def ratio(top: Array, bottom: Array, /) -> Array:
    """Return top / bottom; NaN where the divisor is 0."""
    top, bottom = np.asarray(top), np.asarray(bottom)
    shape = np.broadcast_shapes(top.shape, bottom.shape)
    undefined = np.full(shape, np.nan, np.result_type(top, bottom, np.float32))
    return np.divide(top, bottom, out=undefined, where=np.broadcast_to(bottom != 0, shape))[()]


def accuracy_delta(baseline: Array, quantized: Array, /) -> Array:
    """Return delta = (A_f - A_q) / A_f: positive = degradation (the paper's delta(D)); NaN for a baseline of 0.

    >>> float(accuracy_delta(0.8, 0.6).round(4))
    0.25
    """
    return ratio(np.subtract(baseline, quantized), baseline)


def ece_relative_change(baseline: Array, quantized: Array, /) -> Array:
    """Return (ECE_q - ECE_f) / ECE_f: negative = better calibrated; NaN for a baseline of 0.

    >>> float(ece_relative_change(0.04, 0.02))
    -0.5
    """
    return ratio(np.subtract(quantized, baseline), baseline)


def rsg(common: Array, counter: Array, /) -> Array:
    """Return the relative spurious gap (A_N - A_C) / A_N, N = common and C = counter group.

    >>> float(rsg(0.8, 0.6).round(4))
    0.25
    """
    return ratio(np.subtract(common, counter), common)


def rsg_change(common_f: Array, counter_f: Array, common_q: Array, counter_q: Array, /) -> Array:
    """Return Delta RSG = RSG(quantized) - RSG(FP32): positive = leans more on the spurious cue."""
    return rsg(common_q, counter_q) - rsg(common_f, counter_f)


def vuln_add(common_f: Array, counter_f: Array, common_q: Array, counter_q: Array, /) -> Array:
    """Return Vuln_add = delta_C - delta_N: how much more accuracy the counter group lost.

    Delta RSG = (A_C^f / A_N^f) Vuln_add / (1 - delta_N) for every set of accuracies.
    """
    return accuracy_delta(counter_f, counter_q) - accuracy_delta(common_f, common_q)


def worst_group(accuracies: Sequence[Array], /) -> Array:
    """Return the smallest of the groups' accuracies.

    >>> float(worst_group([0.9, 0.4, 0.7]))
    0.4
    """
    return np.min(np.stack([np.asarray(a) for a in accuracies]), axis=0)


def mean_corruption_error(error: ArrayLike, reference: ArrayLike, /) -> Array:
    """Return mCE = mean_c (sum_s E_sc / sum_s R_sc); errors and reference errors (corruptions, severities, ...).

    Hendrycks and Dietterich (2019), eq. 1. 1 = as many errors as the reference (here FP32; AlexNet in the paper).
    """
    top, bottom = np.asarray(error), np.asarray(reference)
    return ratio(top.sum(axis=1), bottom.sum(axis=1)).mean(axis=0)


def relative_mean_corruption_error(
    error: ArrayLike, clean: Array, reference: ArrayLike, reference_clean: Array, /
) -> Array:
    """Return relative mCE: mCE of what corruption adds to the clean error (Hendrycks and Dietterich 2019, eq. 2)."""
    return mean_corruption_error(np.asarray(error) - clean, np.asarray(reference) - reference_clean)


def effective_robustness(
    clean: ArrayLike, shifted: ArrayLike, baseline_clean: ArrayLike, baseline_shifted: ArrayLike, /
) -> NDArray[np.float64]:
    """Return accuracy on shifted data above what the clean accuracy of baseline models predicts.

    Taori et al. (2020), eq. 1: rho = A_shift - beta(A_clean), beta a line fitted on logit axes through the baselines
    (here the FP32 models). Accuracies are kept within [1e-4, 1 - 1e-4]. Raises ValueError for fewer than two different
    baseline accuracies.

    >>> effective_robustness([0.7], [0.6], [0.5, 0.8], [0.5, 0.8]).round(3)
    array([-0.1])
    """
    slope, intercept = _line(baseline_clean, baseline_shifted)
    return np.asarray(shifted, dtype=float) - expit(slope * _on_logit_axis(clean) + intercept)


def slope_of_prediction(
    clean: ArrayLike, baseline_clean: ArrayLike, baseline_shifted: ArrayLike, /
) -> NDArray[np.float64]:
    """Return by how much the predicted shifted accuracy rises with the clean one, of `effective_robustness`.

    It is 0 where a clean accuracy is kept within its bounds.

    >>> slope_of_prediction([0.5, 1.0], [0.5, 0.8], [0.5, 0.8]).round(3)
    array([1., 0.])
    """
    slope, intercept = _line(baseline_clean, baseline_shifted)
    accuracy, axis = np.asarray(clean, dtype=float), _on_logit_axis(clean)
    predicted, kept = expit(slope * axis + intercept), expit(axis)
    inside = (accuracy > NEAREST) & (accuracy < 1 - NEAREST)
    return np.where(inside, slope * predicted * (1 - predicted) / (kept * (1 - kept)), 0.0)


def _on_logit_axis(accuracy: ArrayLike) -> NDArray[np.float64]:
    return logit(np.clip(np.asarray(accuracy, dtype=float), NEAREST, 1 - NEAREST))


def _line(clean: ArrayLike, shifted: ArrayLike) -> tuple[float, float]:
    """Return slope and intercept of the line through baselines; raise ValueError where there is none."""
    x, y = _on_logit_axis(clean), _on_logit_axis(shifted)
    if len(np.unique(x)) < 2:
        raise ValueError("effective robustness needs baselines of at least two different clean accuracies")
    slope, intercept = np.polyfit(x, y, 1)
    return float(slope), float(intercept)
