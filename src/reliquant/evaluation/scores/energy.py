"""Score by the negative free energy of the logits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from reliquant.evaluation.features import Features
from reliquant.evaluation.scoring import by_logits, positive


def score(features: Features, train: Features | None, /, *, temperature: float = 1.0) -> NDArray[np.float64]:
    """Return T log sum_c exp(logit_c / T) of each image, (n,); higher = more in-distribution.

    Liu et al., "Energy-based Out-of-distribution Detection" (2020), with the sign turned. A temperature equal to
    the logit scale gives the energy of the raw cosines (times the scale), the form of the MCM paper.
    `train` is not used.
    Raises ValueError for a temperature that is not above 0.

    >>> two = np.eye(2, dtype=np.float32)
    >>> score(Features(two[:1], two, np.array([0]), 2.0), None).round(4)  # log(e^2 + 1)
    array([2.1269])
    """
    t = positive("temperature", temperature)
    return by_logits(features, lambda logits: t * logsumexp(logits / t, axis=1))
