"""The part of a feature that training features do not use: what ViM and residual scores measure; free of torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reliquant.evaluation.features import Features

Array = NDArray[np.float64]


def residual(train: Features, dimension: int | None, /) -> tuple[Array, Array]:
    """Return the origin (d,) and an orthonormal basis (d, d - dimension) of the minor directions of training features.

    Wang et al., "ViM: Out-of-Distribution with Virtual-logit Matching" (2022). The origin -W^+ b makes the
    bias of the logits W x + b vanish; here W = logit scale times the text features, and b is 0 but for sigmoid models.
    The major directions are the `dimension` ones of largest second moment about the origin, and the minor directions
    are all others; None takes half of the width, as the paper's 512 would leave nothing of CLIP's 512.
    Raises ValueError for a dimension that is not from 1 to d - 1.
    """
    width = train.image.shape[1]
    kept = width // 2 if dimension is None else dimension
    if not 1 <= kept < width:
        raise ValueError(f"dimension must be from 1 to {width - 1}, below the width of the features, got {kept}")
    weights = train.logit_scale * train.text.astype(np.float64)
    origin = -np.linalg.pinv(weights) @ np.full(len(weights), float(train.logit_bias))
    centred = train.image.astype(np.float64) - origin
    _, vector = np.linalg.eigh(centred.T @ centred)  # ascending
    return origin, vector[:, : width - kept]


def length(features: Features, origin: Array, basis: Array, /) -> Array:
    """Return the length of each image feature's part in the basis, (n,)."""
    return np.linalg.norm((features.image.astype(np.float64) - origin) @ basis, axis=1)
