"""Controls in place of quantization: are its effects those of any noise, or of any low-pass? Free of torch.

Each takes FP32 and quantized features (n, d), the FP32 spectrum and a generator, and returns features to classify.
If white noise of the same SQNR moves accuracy and calibration as quantization does, there is nothing special to
quantizing; if truncation of FP32 features to its leading ranks does, "spectral filtering" explains it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from reliquant.measures.spectrum import Spectrum, banded, bands

Array = NDArray[np.float64]


def gaussian(exact: Array, noisy: Array, fp32: Spectrum, rng: np.random.Generator, /) -> Array:
    """Add white Gaussian noise of the quantization noise's power, so of the same SQNR."""
    return exact + rng.normal(scale=_power(exact, noisy) ** 0.5, size=exact.shape)


def uniform(exact: Array, noisy: Array, fp32: Spectrum, rng: np.random.Generator, /) -> Array:
    """Add white uniform noise of the same power: what rounding would be, were it independent of the signal."""
    half = (3 * _power(exact, noisy)) ** 0.5
    return exact + rng.uniform(-half, half, size=exact.shape)


def shaped(exact: Array, noisy: Array, fp32: Spectrum, rng: np.random.Generator, /) -> Array:
    """Add Gaussian noise with the quantization noise's mean power at every rank: the same SQNR by rank."""
    power = (((noisy - exact) @ fp32.basis) ** 2).mean(axis=0)
    return exact + (rng.normal(size=(len(exact), len(power))) * np.sqrt(power)) @ fp32.basis.T


def shuffled(exact: Array, noisy: Array, fp32: Spectrum, rng: np.random.Generator, /) -> Array:
    """Give each image another image's quantization error: the same errors, independent of what they fall on."""
    return exact + (noisy - exact)[rng.permutation(len(exact))]


def lowest(exact: Array, noisy: Array, fp32: Spectrum, rng: np.random.Generator, /) -> Array:
    """Truncate FP32 features to the leading ranks, those before the last band."""
    return banded(exact, fp32, 0, last_edge(exact.shape[1]))


def last_edge(width: int, /) -> int:
    """Return where the last band of ranks begins.

    >>> last_edge(512)
    64
    """
    return list(bands(width).values())[-1][0]


def _power(exact: Array, noisy: Array) -> float:
    """Return the mean square of the quantization noise per number."""
    return float(((noisy - exact) ** 2).mean())


CONTROLS: dict[str, Callable[[Array, Array, Spectrum, np.random.Generator], Array]] = {
    "gaussian noise": gaussian,
    "uniform noise": uniform,
    "noise, same SQNR by rank": shaped,
    "error of another image": shuffled,
    "FP32 truncated": lowest,
}
