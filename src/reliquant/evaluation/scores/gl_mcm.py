"""Score by global and local maximum concept matching."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from reliquant.evaluation.features import Features
from reliquant.evaluation.scoring import by_cosine, positive

NEEDS = "patches"  # local features of the tower


def score(
    features: Features, train: Features | None, /, *, temperature: float = 1.0, weight: float = 0.5
) -> NDArray[np.float64]:
    """Return max_c p_c + weight max_{patch, c} p_{patch, c} of each image, (n,); higher = more in-distribution.

    Miyai et al., "GL-MCM: Global and Local Maximum Concept Matching for Zero-Shot Out-of-Distribution Detection"
    (2023), S_GL-MCM; p = softmax over the classes of the raw cosines / T, of the image and of each patch. Finds small
    objects of a class that the whole image does not show. `train` is not used.
    Raises ValueError where there are no patch features, and for a temperature that is not above 0.

    >>> two = np.eye(2, dtype=np.float32)
    >>> score(Features(two[:1], two, np.array([0]), 100.0, patches=two[None]), None).round(4)  # 1.5 e / (e + 1)
    array([1.0966])
    """
    t = positive("temperature", temperature)
    if features.patches is None:
        raise ValueError("score 'gl_mcm' needs patch features, and there are none: this tower has no local features")

    def confidence(cosine: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.exp(cosine.max(-1) / t - logsumexp(cosine / t, axis=-1))

    text = features.text.T.astype(np.float64)
    held = max(1, 2**22 // (features.patches.shape[1] * text.shape[1]))  # images in a block of 32 MB
    local = [
        confidence(features.patches[i : i + held].astype(np.float64) @ text).max(1)
        for i in range(0, len(features.patches), held)
    ]
    return by_cosine(features, confidence) + weight * (np.concatenate(local) if local else np.empty(0))
