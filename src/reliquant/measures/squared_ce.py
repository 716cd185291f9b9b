"""The squared calibration error without the bias of n, and replicates whose spread is right at 0 too; free of torch.

A plug-in error, such as the ECE, squares or takes the size of a noisy gap, so it grows with the noise: it differs
between two calibrated models of which one is sharper. Here each bin's squared gap is freed of its noise, so that
differences of two models are those of their errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def squared_ce(confidence: Floats, correct: NDArray[np.bool_], bin_of: NDArray[np.int64], /) -> float:
    """Return the debiased squared calibration error, sum_b n_b / n (mean over pairs i != j of bin b of u_i u_j).

    u = confidence - correct, so each bin's part is the square of its mean gap less the variance of that mean (Sun et
    al. 2024, arXiv 2408.08998, eq. 3, of the top class; Kumar et al. 2019). Its expectation is the squared gap of the
    bins, so it is below 0 in half the samples of a calibrated model. Bins of one image are left out; NaN if no bin is
    larger. `bin_of` numbers the bin of each image, (n,).

    >>> u = np.array([0.2, 0.2, 0.2, 0.2])
    >>> round(squared_ce(u, np.zeros(4, bool), np.zeros(4, int)), 4)
    0.04
    """
    gap = np.asarray(confidence, float) - correct
    parts = (np.bincount(bin_of, values) for values in (gap, np.ones(len(gap)), gap**2))
    return float(SquaredCE(*(part[:, None] for part in parts)).value[0])


@dataclass(frozen=True)
class SquaredCE:
    """Hold the sums over equal-mass bins, (..., bins, 1), of the gaps u, of 1, and of u squared."""

    gap: Floats
    count: Floats
    square: Floats

    @cached_property
    def mean(self) -> Floats:
        """The mean gap of each bin."""
        return self.gap / np.maximum(self.count, 1)

    @cached_property
    def noise(self) -> Floats:
        """The variance of each bin's mean gap; 0 in bins of one image, which are not used."""
        m = np.maximum(self.count, 2)
        return np.where(self.count > 1, (self.square - self.count * self.mean**2) / (m - 1) / m, 0)

    @cached_property
    def value(self) -> Floats:
        """The debiased squared error, (..., 1)."""
        return _weighted(self.mean**2 - self.noise, self.count, self.count)

    def values(self, /, *, detail: bool) -> dict[str, Floats]:
        """Return the values of the measures that rest on it; with `detail` also the root."""
        root = {"rms_ce": np.where(np.isnan(self.value), np.nan, np.sqrt(np.maximum(self.value, 0)))}
        return {"squared_ce": self.value} | (root if detail else {})

    def replicate(self, gap: Floats, count: Floats, /) -> Floats:
        """Return the error in resamples, (..., b), of their sums of gaps and weights, (..., bins, b).

        Resampled as it is, the gap of a bin would be off twice: by the noise of the sample and by that of the resample,
        and at 0, where nothing but noise is left, the spread would be 1.7 times too wide. So each bin starts from its
        gap shrunk by the share of all squared gaps that is no noise, and the resample adds its own deviation.
        """
        whole = _weighted(self.mean**2, self.count, self.count)
        shrink = np.sqrt(np.clip(self.value / np.where(whole > 0, whole, 1), 0, 1))[..., None, :]
        moved = gap / np.where(np.abs(count) > 0.5, count, np.inf) - self.mean
        moved = np.where(np.abs(count) > 0.5, moved, 0)
        return _weighted((shrink * self.mean + moved) ** 2 - self.noise, np.maximum(count, 0), self.count)


def _weighted(squares: Floats, weight: Floats, count: Floats) -> Floats:
    """Return the mean over the bins that hold two images or more, by weights; NaN where there is none."""
    used = np.where(count > 1, weight, 0)
    total = used.sum(axis=-2)
    mean = (used * squares).sum(axis=-2)
    return np.divide(mean, total, out=np.full(total.shape, np.nan, mean.dtype), where=total > 0)
