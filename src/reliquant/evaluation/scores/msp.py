"""Score by maximum softmax probability."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from reliquant.evaluation.features import Features
from reliquant.evaluation.scoring import by_logits, positive


def score(features: Features, train: Features | None, /, *, temperature: float = 1.0) -> NDArray[np.float64]:
    """Return max_c softmax(logits / T)_c of each image, (n,); higher = more in-distribution.

    Hendrycks & Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples" (2017).
    The logits carry the model's own scale, so this is the confidence that calibration measures. `train` is not used.
    Raises ValueError for a temperature that is not above 0.

    >>> two = np.eye(2, dtype=np.float32)
    >>> score(Features(two[:1], two, np.array([0]), 2.0), None).round(4)  # e^2 / (e^2 + 1)
    array([0.8808])
    """
    t = positive("temperature", temperature)
    return by_logits(features, lambda logits: np.exp(logits.max(1) / t - logsumexp(logits / t, axis=1)))
