"""Score by the part of a feature outside the training features' principal subspace."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reliquant.evaluation.features import Features
from reliquant.evaluation.scoring import fitted_on
from reliquant.evaluation.subspace import length, residual

NEEDS = "train"  # features of in-distribution training images (`fits:` in a config)


def score(features: Features, train: Features | None, /, *, dimension: int | None = None) -> NDArray[np.float64]:
    """Return minus the length of each feature's residual, (n,); higher = more in-distribution.

    Wang et al., "ViM: Out-of-Distribution with Virtual-logit Matching" (2022), its residual: what is left of a feature
    after projection on the `dimension` principal directions of the training features (None: half of the width).
    Raises ValueError without training features, and for a dimension that is not below their width.
    """
    return -length(features, *residual(fitted_on(train, "residual"), dimension))
