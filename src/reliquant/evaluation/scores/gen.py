"""Score by the generalized entropy of the largest probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from reliquant.evaluation.features import Features
from reliquant.evaluation.scoring import by_logits, positive


def score(features: Features, train: Features | None, /, *, gamma: float = 0.1, top: int = 100) -> NDArray[np.float64]:
    """Return -sum p^gamma (1 - p)^gamma over the `top` largest p of each image, (n,); higher = more in-distribution.

    Liu et al., "GEN: Pushing the Limits of Softmax-Based Out-of-Distribution Detection" (2023), G_gamma with its
    gamma = 0.1 and M = 100 classes (all of them where there are fewer). `train` is not used.
    Raises ValueError for a gamma that is not above 0 or a top below 1.

    >>> two = np.eye(2, dtype=np.float32)
    >>> score(Features(two[:1], two, np.array([0]), 0.0), None).round(4)  # -2 (1/2 1/2)^0.1
    array([-1.7411])
    """
    power = positive("gamma", gamma)
    if top < 1:
        raise ValueError(f"top must be at least 1, got {top}")

    def generalized(logits: NDArray[np.float64]) -> NDArray[np.float64]:
        kept = min(top, logits.shape[1])
        log_p = log_softmax(logits, axis=1)
        log_p = np.partition(log_p, logits.shape[1] - kept, axis=1)[:, logits.shape[1] - kept :]
        return -np.sum((np.exp(log_p) * -np.expm1(log_p)) ** power, axis=1)

    return by_logits(features, generalized)
