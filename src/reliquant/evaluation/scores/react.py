"""Score by the energy of clipped features."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from reliquant.evaluation.features import Features
from reliquant.evaluation.scoring import by_logits, fitted_on

NEEDS = "train"  # features of in-distribution training images (`fits:` in a config)


def score(features: Features, train: Features | None, /, *, percentile: float = 90.0) -> NDArray[np.float64]:
    """Return log sum_c exp(logit_c) of image features cut at a threshold, (n,); higher = more in-distribution.

    Sun et al., "ReAct: Out-of-distribution Detection With Rectified Activations" (2021): the threshold is a percentile
    of all values of all training features. CLIP's features are signed and of unit length, unlike the activations that
    ReAct was made for; but a few coordinates are large for every image (one of ViT-B/32's is 0.7 on average, the median
    0.01), and the cut takes mostly these, which say nothing about the class.
    Raises ValueError without training features, and for a percentile outside 0 .. 100.
    """
    if not 0 <= percentile <= 100:
        raise ValueError(f"percentile must be in 0 .. 100, got {percentile}")
    threshold = np.percentile(fitted_on(train, "react").image, percentile)
    clipped = replace(features, image=np.minimum(features.image, np.float32(threshold)))
    return by_logits(clipped, lambda logits: logsumexp(logits, axis=1))
