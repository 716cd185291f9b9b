"""The temperature that would calibrate a table of logits best; free of torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reliquant.measures.accuracy import labels_within

Floats = NDArray[np.floating]


def best_temperature(
    values: Floats, label: NDArray[np.integer], /, *, of: Literal["logits", "probabilities"] = "logits"
) -> float:
    """Return the T > 0 that minimises the NLL of softmax(logits / T) (Guo et al. 2017), within [1e-3, 1e3].

    Above 1 the model is over-confident. It is fitted to the evaluation images themselves, so it is a bound and not a
    recalibration. Found by Newton's method on 1 / T, in which the NLL is convex, with bisection where a step would
    leave the bracket.
    """
    labels_within(label, values.shape[1])
    low, high, beta = 1e-3, 1e3, 1.0
    for _ in range(60):
        slope, curvature = _nll_slope(values, label, beta, of)
        low, high = (beta, high) if slope < 0 else (low, beta)
        step = beta - slope / curvature if curvature > 0 else np.nan
        following = step if low < step < high else float(np.sqrt(low * high))
        if abs(following / beta - 1) < 1e-7:
            break
        beta = following
    return 1 / beta


def best_temperature_influence(
    values: Floats, label: NDArray[np.integer], /, *, of: Literal["logits", "probabilities"] = "logits"
) -> tuple[float, NDArray[np.float64]]:
    """Return the best temperature and every image's influence on it, (n,), as of any M-estimator (Huber 1967).

    It is the derivative of the image's NLL by 1 / T over the mean curvature; NaN where the best T lies at an end.
    """
    t = best_temperature(values, label, of=of)
    slopes, curvatures = [], []
    for at, z in _centred_logits(values, of):
        first, second = _slopes(z, label[at], 1 / t)
        slopes.append(first)
        curvatures.append(second)
    slope, curvature = np.concatenate(slopes), np.concatenate(curvatures)
    if not 1.1e-3 < t < 0.9e3 or curvature.mean() <= 0:
        return t, np.full(len(label), np.nan)
    return t, t**2 * slope / curvature.mean()  # dT = -T^2 d(1 / T), and d(1 / T) = -slope / curvature


def _nll_slope(values: Floats, label: NDArray[np.integer], beta: float, of: str) -> tuple[float, float]:
    """Return first and second derivative of the mean NLL by the inverse temperature."""
    slope = curvature = 0.0
    for at, z in _centred_logits(values, of):
        first, second = _slopes(z, label[at], beta)
        slope += float(first.sum())
        curvature += float(second.sum())
    return slope / len(label), curvature / len(label)


def _slopes(
    z: NDArray[np.float64], label: NDArray[np.integer], beta: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both derivatives of each image's NLL by the inverse temperature, (n,)."""
    p = np.exp(beta * z)
    p /= p.sum(axis=1, keepdims=True)
    mean = np.einsum("ij,ij->i", p, z)
    own = np.take_along_axis(z, label[:, None], axis=1)[:, 0]
    return mean - own, np.einsum("ij,ij,ij->i", p, z, z) - mean**2


def _centred_logits(values: Floats, of: str) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Yield slices of images and their logits less the largest of each; log-probabilities serve as logits."""
    for i in range(0, len(values), 1024):
        z = values[i : i + 1024]
        z = np.log(np.maximum(z, np.finfo(z.dtype).tiny)) if of == "probabilities" else z
        yield slice(i, i + 1024), z.astype(float) - z.max(axis=1, keepdims=True).astype(float)
