"""The squared calibration error without the bias of n, and replicates whose spread is right at 0 too; free of torch.

A plug-in error, such as the ECE, squares or takes the size of a noisy gap, so it grows with the noise: it differs
between two calibrated models of which one is sharper. Here each bin's squared gap is freed of its noise, so that
differences of two models are those of their errors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from reliquant.measures.roots import root

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
    parts = [np.bincount(bin_of, values).astype(float) for values in (gap, np.ones(len(gap)), gap**2)]
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
        return _weighted(self.mean**2 - self.noise, self.count)

    def values(self, /, *, detail: bool) -> dict[str, Floats]:
        """Return the values of the measures that rest on it; with `detail` also the root."""
        rms = {"rms_ce": np.where(np.isnan(self.value), np.nan, np.sqrt(np.maximum(self.value, 0)))}
        return {"squared_ce": self.value} | (rms if detail else {})

    @property
    def flip(self) -> Floats:
        """How much an answer that flips adds to n times the value, (..., 1): as a rule twice the gap of its bin."""
        return 2 * np.sqrt(_weighted(self.mean**2, self.count))

    @cached_property
    def share(self) -> Floats:
        """The share of each bin in the images of bins that hold two or more; 0 for others."""
        used = np.where(self.count > 1, self.count, 0)
        return used / np.maximum(used.sum(axis=-2, keepdims=True), 1)

    @cached_property
    def start(self) -> Floats:
        """The gap of each bin as far as it is no noise, (..., bins, 1): its mean square is the value, or nearly 0.

        Gaps are shrunk to their mean over all images, which holds little noise.
        """
        whole = (self.share * self.mean**2).sum(axis=-2, keepdims=True)
        square = np.maximum(self.value[..., None, :], 1e-6 * whole)
        centre = (self.share * self.mean).sum(axis=-2, keepdims=True)
        apart = np.maximum(whole - centre**2, 1e-6 * whole)
        shrink = np.sqrt(np.clip((square - centre**2) / np.where(apart > 0, apart, 1), 0, 1))
        centre = np.sign(centre) * np.minimum(np.abs(centre), np.sqrt(square))
        return centre + shrink * (self.mean - centre)

    @property
    def interval(self) -> tuple[Floats, Floats]:
        """The ends of a 95 % interval, (..., 1): true errors that leave a value as high, or as low, a 2.5 % chance.

        A bin's mean gap is taken for normal, so the value is a weighted sum of noncentral chi-square variates, of which
        mean, variance and skewness are kept (a shifted gamma distribution). True gaps are taken to lie over the bins as
        `start` does. Below 0, where no true error lies, the ends go on as if there were, so that every interval holds
        its value. To the noise of the gaps is added that of one wrong answer more, which may be in any bin: where none
        is seen, gaps have hardly any.
        """
        return self._end(self.value, -1), self._end(self.value, 1)

    @property
    def most(self) -> Floats:
        """The upper end of an interval of true errors, (..., 1): that of a value of 0 where the value is below."""
        return self._end(np.maximum(self.value, 0), 1)

    def _end(self, value: Floats, side: int) -> Floats:
        """Return one end (-1, the lower, or 1) of the interval of a value that these bins might have had."""
        unseen = self.share / np.maximum(self.count, 2) ** 2
        parts = self.share * (self.noise + unseen)  # of bins
        square = (self.share * self.start**2).sum(axis=-2, keepdims=True)
        shape = self.start**2 / np.where(square > 0, square, 1)
        second = 2 * (parts**2).sum(axis=-2), 4 * (self.share * parts * shape).sum(axis=-2)
        third = 8 * (parts**3).sum(axis=-2), 24 * (self.share * parts**2 * shape).sum(axis=-2)

        def quantile(true: Floats, p: float) -> Floats:
            variance, moment = (noise + slope * np.maximum(true, 0) for noise, slope in (second, third))
            sd = np.sqrt(variance)
            skew = np.maximum(moment / np.where(variance > 0, variance * sd, 1), 1e-3)
            form = 4 / skew**2
            return true + sd * (gammaincinv(form, p) - form) / np.sqrt(form)

        return _end_of(lambda true: quantile(true, 0.5 - 0.475 * side), value, side)

    def replicate(self, gap: Floats, count: Floats, /) -> Floats:
        """Return the error in resamples, (..., b), of their sums of gaps and weights, (..., bins, b).

        Resampled as it is, the gap of a bin would be off twice: by the noise of the sample and by that of the resample,
        and at 0, where nothing but noise is left, the spread would be 1.7 times too wide. So each bin starts from
        `start`, and the resample adds its own deviation. How the replicates vary together with others is what counts:
        `interval` says how wide they lie.
        """
        moved = gap / np.where(np.abs(count) > 0.5, count, np.inf) - self.mean
        moved = np.where(np.abs(count) > 0.5, moved, 0)
        return _weighted((self.start + moved) ** 2 - self.noise, self.count)


def _end_of(quantile: Callable[[Floats], Floats], value: Floats, side: int) -> Floats:
    """Return the true value on one side of `value` (-1 or 1) whose quantile is `value`."""

    def height(true: Floats) -> Floats:
        return side * (quantile(true) - value)  # below 0 at `value` itself

    far = value + 0.01 * side
    while (short := height(far) < 0).any():
        far = np.where(short, value + 2 * (far - value), far)
    return root(height, value, far)


def _weighted(squares: Floats, count: Floats) -> Floats:
    """Return the mean over the bins that hold two images or more, by their images; NaN where there is none."""
    used = np.where(count > 1, count, 0)
    total = used.sum(axis=-2)
    return (used * squares).sum(axis=-2) / np.where(total > 0, total, np.nan)
