"""Score by the largest logit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reliquant.evaluation.features import Features
from reliquant.evaluation.scoring import by_logits


def score(features: Features, train: Features | None, /) -> NDArray[np.float64]:
    """Return max_c logit_c of each image, (n,); higher = more in-distribution.

    Hendrycks et al., "Scaling Out-of-Distribution Detection for Real-World Settings" (2022), MaxLogit:
    for a CLIP-like model, the cosine with the nearest class in units of the logit scale. `train` is not used.

    >>> two = np.eye(2, dtype=np.float32)
    >>> score(Features(two[:1], two, np.array([0]), 2.0), None)
    array([2.])
    """
    return by_logits(features, lambda logits: logits.max(1))
