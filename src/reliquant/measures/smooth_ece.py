"""Calibration error without bins, by kernel smoothing; with influences; free of torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reliquant.measures.calibration import bins_of


def smooth_ece(
    confidence: NDArray[np.floating], correct: NDArray[np.bool_], /, *, grid: int = 1000
) -> tuple[float, NDArray[np.float64]]:
    """Return the smooth ECE and every image's influence on it, (n,); NaN without images.

    Blasiok and Nakkiran (2023), def. 4: the integral over t of |1/n sum_i (correct_i - confidence_i) K_s(t, c_i)| with
    K_s the Gaussian reflected at 0 and 1, at the one bandwidth s where the integral equals s. Confidences are put on a
    grid of `grid` cells; one cell is also the smallest bandwidth. The influences include that the bandwidth moves: at
    the fixed point de = (change at fixed s) / (1 - de/ds).

    >>> round(smooth_ece(np.full(10, 0.9), np.arange(10) < 6)[0], 2)
    0.3
    """
    bins_of(confidence)  # refuses NaN and values outside [0, 1]
    n = len(confidence)
    if not n:
        return np.nan, np.zeros(0)
    at = np.minimum((np.asarray(confidence, dtype=float) * grid).astype(int), grid - 1)
    residual = np.asarray(correct, float) - confidence
    density = np.bincount(at, residual, minlength=grid) / n
    low, high = 1 / grid, 1.0  # the error falls with s, so that error(s) - s has one root
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if _error(density, middle) > middle else (low, middle)
    value, step = _error(density, high), high / 100
    slope = (_error(density, high + step) - _error(density, high - step)) / (2 * step)
    pull = _smoothed(np.sign(_smoothed(density, high)), high)[at]
    influence = (residual * pull - value) / (1 - min(0.0, slope))
    return value, influence - influence.mean()


def _error(density: NDArray[np.float64], s: float) -> float:
    """Return the integral of the smoothed gap at one bandwidth."""
    return float(np.abs(_smoothed(density, s)).sum())


def _smoothed(density: NDArray[np.float64], s: float) -> NDArray[np.float64]:
    """Convolve with a Gaussian of deviation s, reflected at both ends: an even function of period 2."""
    grid = len(density)
    spectrum = np.fft.rfft(np.concatenate([density, density[::-1]]))
    return np.fft.irfft(spectrum * np.exp(-0.5 * (np.pi * np.arange(grid + 1) * s) ** 2), 2 * grid)[:grid]
