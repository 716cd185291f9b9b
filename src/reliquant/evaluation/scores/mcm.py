"""Score by maximum concept matching."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from reliquant.evaluation.features import Features
from reliquant.evaluation.scoring import by_cosine, positive


def score(features: Features, train: Features | None, /, *, temperature: float = 1.0) -> NDArray[np.float64]:
    """Return max_c softmax(cos / T)_c of each image, (n,); higher = more in-distribution.

    Ming et al., "Delving into Out-of-Distribution Detection with Vision-Language Representations" (2022), S_MCM.
    The softmax is over the raw cosines, not over the model's logits: with T = 1 it is nearly uniform, and orders images
    by how far the best class stands above all others. `train` is not used.
    Raises ValueError for a temperature that is not above 0.

    >>> two = np.eye(2, dtype=np.float32)
    >>> score(Features(two[:1], two, np.array([0]), 100.0), None).round(4)  # e / (e + 1)
    array([0.7311])
    """
    t = positive("temperature", temperature)
    return by_cosine(features, lambda cosine: np.exp(cosine.max(1) / t - logsumexp(cosine / t, axis=1)))
