"""Spectra of features: signal and noise by rank, effective rank, features cut down to bands of ranks; free of torch.

Features are un-normalised image embeddings (n, d); a basis holds right singular vectors as columns (d, r), strongest
first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr, svd

Array = NDArray[np.float64]
LARGE = 2_000  # images and width above which a full decomposition costs more than a sketch
OVERSAMPLE, POWERS = 16, 4


@dataclass(frozen=True)
class Spectrum:
    """Hold the mean (d,), right singular vectors (d, r) and singular values (r,) of centred features."""

    mean: Array
    basis: Array
    values: Array

    @property
    def effective_rank(self) -> float:
        """The number of directions over which the energy is spread."""
        return effective_rank(self.values)

    def coordinates(self, features: NDArray[np.floating], /) -> Array:
        """Return features less the mean in this basis, (n, r)."""
        return (features.astype(np.float64) - self.mean) @ self.basis


def spectrum(
    features: NDArray[np.floating], /, *, ranks: int | None = None, rng: np.random.Generator | None = None
) -> Spectrum:
    """Decompose centred features (n, d); signs are fixed so that equal features give equal bases.

    Where n and d are both large and `ranks` is well below them, a randomised range finder replaces the full
    decomposition (Halko et al. 2011, algorithm 4.4: a Gaussian sketch, four power iterations, re-orthonormalised).
    Raises ValueError on fewer than two images and on NaN or infinite features.
    """
    x = np.asarray(features, dtype=np.float64)
    if x.ndim != 2 or len(x) < 2:
        raise ValueError(f"a spectrum needs features (n, d) of at least two images, got {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError("features hold NaN or infinite values")
    mean = x.mean(axis=0)
    centred = x - mean
    if ranks is not None and min(x.shape) > max(LARGE, 2 * (ranks + OVERSAMPLE)):
        _, values, rows = randomised_svd(centred, ranks, np.random.default_rng(0) if rng is None else rng)
    else:
        _, values, rows = svd(centred, full_matrices=False, lapack_driver="gesdd")
        kept = min(len(values), len(x) - 1, ranks or len(values))  # centring takes one rank away
        values, rows = values[:kept], rows[:kept]
    return Spectrum(mean, _signed(rows).T, values)


def randomised_svd(x: Array, ranks: int, rng: np.random.Generator, /) -> tuple[Array, Array, Array]:
    """Return the leading left vectors (n, r), values (r,) and right vectors (r, d) of x by a Gaussian sketch."""
    q, _ = qr(x @ rng.normal(size=(x.shape[1], ranks + OVERSAMPLE)), mode="economic")
    for _ in range(POWERS):
        back, _ = qr(x.T @ q, mode="economic")
        q, _ = qr(x @ back, mode="economic")
    left, values, right = svd(q.T @ x, full_matrices=False)
    return (q @ left)[:, :ranks], values[:ranks], right[:ranks]


def effective_rank(values: NDArray[np.floating], /) -> float:
    """Return exp of the entropy of the energy shares p = s^2 / sum s^2 (Roy and Vetterli 2007).

    >>> round(effective_rank(np.array([2.0, 2.0, 0.0])), 6)
    2.0
    """
    energy = np.asarray(values, float) ** 2
    if not energy.sum() > 0:
        return float("nan")
    share = energy[energy > 0] / energy.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def sqnr_by_rank(fp32: Spectrum, exact: NDArray[np.floating], noisy: NDArray[np.floating], /) -> tuple[Array, Array]:
    """Return SQNR_r = 10 log10(mean (X_c V)_r^2 / mean ((Xq - X) V)_r^2) in dB, (r,), and its influence (n, r).

    V is the FP32 basis; the influence of an image is what it adds to n (SQNR - its value), to first order. A rank
    without noise has infinite SQNR.
    """
    signal = fp32.coordinates(exact) ** 2
    noise = ((noisy.astype(np.float64) - exact) @ fp32.basis) ** 2
    return _decibels(signal, noise)


def sqnr(exact: NDArray[np.floating], noisy: NDArray[np.floating], /) -> float:
    """Return 10 log10(|x|^2 / |x_q - x|^2) in dB of arrays of one shape, not centred; infinite if they are equal."""
    exact = np.asarray(exact, np.float64)
    noise = float(((np.asarray(noisy, np.float64) - exact) ** 2).sum())
    signal = float((exact**2).sum())
    if not signal > 0:
        return np.nan
    return 10 * float(np.log10(signal / noise)) if noise > 0 else np.inf


def _decibels(signal: Array, noise: Array) -> tuple[Array, Array]:
    """Return 10 log10(mean signal / mean noise) of powers (n, r), (r,), and the influence of each image, (n, r)."""
    s, e = signal.mean(axis=0), noise.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = 10 * np.log10(s / e)
        influence = 10 / np.log(10) * (signal / s - noise / e)
    return value, influence


def overall(fp32: Spectrum, exact: NDArray[np.floating], noisy: NDArray[np.floating], /) -> tuple[float, Array]:
    """Return the SQNR over all ranks together, of the signal less the FP32 mean, and its influence (n,)."""
    signal = ((exact.astype(np.float64) - fp32.mean) ** 2).sum(axis=1, keepdims=True)
    noise = ((noisy.astype(np.float64) - exact) ** 2).sum(axis=1, keepdims=True)
    value, influence = _decibels(signal, noise)
    return float(value[0]), influence[:, 0]


def bands(width: int, /) -> dict[str, tuple[int, int]]:
    """Return the paper's bands of ranks: 0-8, 8-64 and 64 on; below a width of 128 the edges are an eighth and a half.

    >>> bands(512)
    {'0_8': (0, 8), '8_64': (8, 64), '64_end': (64, 512)}
    >>> bands(64)
    {'0_8': (0, 8), '8_32': (8, 32), '32_end': (32, 64)}
    """
    low, high = min(8, max(1, width // 8)), min(64, max(2, width // 2))
    edges = ((0, low), (low, high), (high, width))
    return {f"{a}_{'end' if b == width else b}": (a, b) for a, b in edges}


def banded(features: NDArray[np.floating], of: Spectrum, low: int, high: int, /) -> Array:
    """Keep of features (n, d) only the mean and the ranks low to high - 1 of a basis; all ranks keep everything."""
    part = of.basis[:, low:high]
    return of.mean + (features.astype(np.float64) - of.mean) @ part @ part.T


def _signed(rows: Array) -> Array:
    """Turn each row so that its largest entry is positive."""
    largest = np.abs(rows).argmax(axis=1)
    return rows * np.sign(rows[np.arange(len(rows)), largest])[:, None]
