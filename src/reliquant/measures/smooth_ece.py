"""Calibration error without bins, by kernel smoothing; with influences; free of torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reliquant.measures.calibration import bins_of
from reliquant.measures.roots import root


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
    spectrum = _spectrum(density)
    s = _bandwidth(spectrum)
    value, step = _error(spectrum, s), s / 100
    slope = (_error(spectrum, s + step) - _error(spectrum, s - step)) / (2 * step)
    pull = _smoothed(_spectrum(np.sign(_smoothed(spectrum, s))), s)[at]
    influence = (residual * pull - value) / (1 - min(0.0, slope))
    return value, influence - influence.mean()


def _bandwidth(spectrum: NDArray[np.complex128]) -> float:
    """Return the bandwidth s at which the error equals s; the width of a cell where the error is no larger there."""
    smallest = 1 / (len(spectrum) - 1)
    if _error(spectrum, smallest) <= smallest:
        return smallest

    def height(s: NDArray[np.floating]) -> NDArray[np.floating]:  # rises with s; above 0 at 2, since no error is
        return s - _error(spectrum, float(s[0]))

    return float(root(height, np.array([smallest]), np.array([2.0]))[0])


def _error(spectrum: NDArray[np.complex128], s: float) -> float:
    """Return the integral of the smoothed gap at one bandwidth."""
    return float(np.abs(_smoothed(spectrum, s)).sum())


def _spectrum(density: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Return the `grid` + 1 frequencies of what is reflected at both ends, an even function of period 2."""
    return np.fft.rfft(np.concatenate([density, density[::-1]]))


def _smoothed(spectrum: NDArray[np.complex128], s: float) -> NDArray[np.float64]:
    """Convolve with a Gaussian of deviation s what has this spectrum."""
    grid = len(spectrum) - 1
    return np.fft.irfft(spectrum * np.exp(-0.5 * (np.pi * np.arange(grid + 1) * s) ** 2), 2 * grid)[:grid]
