"""Effective robustness of many models on the same images, with intervals that hold the line's noise; free of torch.

Taori et al. (2020, "Measuring Robustness to Natural Distribution Shifts in Image Classification", eq. 1): accuracy on
shifted images above what a line through baseline models predicts from accuracy on clean ones. The line is fitted on
logit axes, as there, or on probit axes, as in Miller et al. (2021, "Accuracy on the Line").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtr, ndtri

from reliquant.measures.shift import NEAREST
from reliquant.measures.stats import bootstrap_p, percentile_interval, replicates, strata, wilson

Axis = Literal["logit", "probit"]
Floats = NDArray[np.floating]
SCALES = {"logit": (logit, expit), "probit": (ndtri, ndtr)}


@dataclass(frozen=True)
class Estimated:
    """Hold a number of each model with its 95 % interval and the p-value of 0, (m,) each; NaN where it is unknown."""

    value: Floats
    low: Floats
    high: Floats
    p: Floats


@dataclass(frozen=True)
class Robustness:
    """Hold what `robustness` finds of each model, and of the line: slope, intercept and share of variance (1,) each."""

    clean: Estimated
    shifted: Estimated
    effective: Estimated
    change: Estimated
    slope: Estimated
    intercept: Estimated
    r_squared: Estimated


def robustness(
    clean: NDArray[np.bool_],
    shifted: NDArray[np.bool_],
    baseline: NDArray[np.bool_],
    fp32: NDArray[np.integer],
    labels: tuple[NDArray[np.integer], NDArray[np.integer]],
    /,
    *,
    axis: Axis = "logit",
    resamples: int = 10_000,
    seed: int = 0,
) -> Robustness:
    """Return effective robustness of m models from which answers are right on n clean and k shifted images.

    `clean` (n, m) and `shifted` (k, m) say whether each model is right on each image; the line goes through the models
    that are `baseline` (m,). `fp32` (m,) is the place of the model that a quantized one is made of, for its change, and
    -1 where there is none. `labels` are the classes of both kinds of images, (n,) and (k,), the strata of the bootstrap
    that draws the images of each kind, the same for all models, and fits the line anew: so intervals hold the noise of
    images in the line, too, but not that other baselines might have been chosen. Accuracies have Wilson's interval; one
    within NEAREST of 0 or 1 is moved there on the axes, and where it is 0 or 1 no resample differs from it, so that
    what the model's line says has no interval. Raises ValueError for fewer than two
    baselines of different clean accuracy.

    >>> right = np.arange(100)[:, None] < [80, 70, 60]
    >>> same = np.zeros(100, int)
    >>> found = robustness(right, right, np.array([True, False, True]), np.full(3, -1), (same, same), resamples=99)
    >>> found.effective.value.round(6).tolist(), float(found.slope.value[0].round(6))
    ([0.0, 0.0, 0.0], 1.0)
    """
    if len(np.unique(clean.mean(axis=0)[baseline])) < 2:
        raise ValueError("effective robustness needs baselines of at least two different clean accuracies")
    rng = np.random.default_rng(seed)
    at_clean, at_shifted = (
        _accuracies(right, label, rng, resamples) for right, label in zip((clean, shifted), labels, strict=True)
    )
    slope, intercept, share = _lines(at_clean[baseline], at_shifted[baseline], axis)
    onto, back = SCALES[axis]
    effective = at_shifted - back(slope * onto(_inside(at_clean)) + intercept)
    change = np.where((fp32 >= 0)[:, None], effective - effective[fp32], np.nan)
    still = np.isin(at_clean[:, 0], (0, 1)) | np.isin(at_shifted[:, 0], (0, 1))  # no resample says how wrong these are
    accuracies = _shares(at_clean, len(clean)), _shares(at_shifted, len(shifted))
    differences = _estimated(effective, still), _estimated(change, still | (still[fp32] & (fp32 >= 0)))
    return Robustness(*accuracies, *differences, *(_estimated(part[None]) for part in (slope, intercept, share)))


def _accuracies(
    right: NDArray[np.bool_], label: NDArray[np.integer], rng: np.random.Generator, resamples: int
) -> NDArray[np.float64]:
    """Return the accuracy of each model, and behind it that in each resample of the images, (m, 1 + resamples)."""
    drawn = replicates(right.astype(np.float32), lambda sums: sums, strata(label), rng, resamples=resamples)
    return np.concatenate([right.mean(axis=0)[:, None], drawn.astype(float) / len(right)], axis=1)


def _lines(x: Floats, y: Floats, axis: Axis) -> tuple[Floats, Floats, Floats]:
    """Return slope, intercept and R squared of the line through models (m, b) of each resample, (b,) each.

    In a resample where all of them are alike in x, the line is level.
    """
    onto = SCALES[axis][0]
    x, y = onto(_inside(x)), onto(_inside(y))
    across, up = x - x.mean(axis=0), y - y.mean(axis=0)
    width, together = (across**2).sum(axis=0), (across * up).sum(axis=0)
    slope = np.divide(together, width, out=np.zeros_like(width), where=width > 0)
    height = (up**2).sum(axis=0)
    share = np.divide(together**2, width * height, out=np.full_like(width, np.nan), where=width * height > 0)
    return slope, y.mean(axis=0) - slope * x.mean(axis=0), share


def _inside(accuracy: Floats) -> Floats:
    return np.clip(accuracy, NEAREST, 1 - NEAREST)


def _estimated(table: Floats, unknown: NDArray[np.bool_] | None = None) -> Estimated:
    """Return values, the first column, with intervals and p-values of the others, the resamples.

    Rows that are `unknown` (m,) have neither.
    """
    ends = [*percentile_interval(table[:, 1:]), bootstrap_p(table[:, 1:])]
    if unknown is not None:
        ends = [np.where(unknown, np.nan, end) for end in ends]
    return Estimated(table[:, 0], *ends)


def _shares(table: Floats, n: int) -> Estimated:
    """Return shares of n images, the first column, with Wilson's intervals by the variance of their resamples."""
    ends = [wilson(float(row[0]), float(np.var(row[1:])), n) for row in table]
    low, high = np.array(ends).T
    return Estimated(table[:, 0], low, high, np.full(len(table), np.nan))
