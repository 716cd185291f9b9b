"""Score by the distance to the k-th nearest training image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reliquant.evaluation.features import Features
from reliquant.evaluation.scoring import fitted_on

NEEDS = "train"  # features of in-distribution training images (`fits:` in a config)


def score(features: Features, train: Features | None, /, *, k: int = 50) -> NDArray[np.float64]:
    """Return minus the distance of each image to its k-th nearest training image, (n,); higher = more in-distribution.

    Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors" (2022), on unit features.
    Raises ValueError without training features, and when they are fewer than k.

    >>> two = np.eye(2, dtype=np.float32)
    >>> axes = Features(two, two, np.array([0, 1]), 100.0)
    >>> score(axes, axes, k=2).round(4)  # the other axis, sqrt 2 away
    array([-1.4142, -1.4142])
    """
    known = fitted_on(train, "knn").image
    if not 1 <= k <= len(known):
        raise ValueError(f"score 'knn': k must be from 1 to the number of training images {len(known)}, got {k}")
    out = np.empty(len(features.image))
    rows = max(1, 2**24 // len(known))  # images in a block of 64 MB
    for i in range(0, len(out), rows):
        image = features.image[i : i + rows]
        far = -(image @ known.T)
        kth = (far == np.partition(far, k - 1, axis=1)[:, k - 1 : k]).argmax(1)  # faster than argpartition
        out[i : i + rows] = -np.linalg.norm(image.astype(np.float64) - known[kth], axis=1)  # no ties in double
    return out
