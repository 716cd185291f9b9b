"""Score by the negative entropy of the softmax."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from reliquant.evaluation.features import Features
from reliquant.evaluation.scoring import by_logits, positive


def score(features: Features, train: Features | None, /, *, temperature: float = 1.0) -> NDArray[np.float64]:
    """Return sum_c p_c log p_c of each image, p = softmax(logits / T), in nats, (n,); higher = more in-distribution.

    Shannon's entropy with its sign turned: 0 for a certain answer, -log c for a uniform one. `train` is not used.
    Raises ValueError for a temperature that is not above 0.

    >>> two = np.eye(2, dtype=np.float32)
    >>> score(Features(two[:1], two, np.array([0]), 0.0), None).round(4)  # -log 2
    array([-0.6931])
    """
    t = positive("temperature", temperature)

    def negative_entropy(logits: NDArray[np.float64]) -> NDArray[np.float64]:
        log_p = log_softmax(logits / t, axis=1)
        return np.sum(np.exp(log_p) * log_p, axis=1)

    return by_logits(features, negative_entropy)
