"""Score by the Mahalanobis distance to the nearest class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reliquant.evaluation.features import Features
from reliquant.evaluation.scoring import fitted_on

Array = NDArray[np.float64]
NEEDS = "train"  # features of in-distribution training images (`fits:` in a config)


def score(features: Features, train: Features | None, /, *, relative: bool = False) -> NDArray[np.float64]:
    """Return -min_c (x - m_c)^T S^-1 (x - m_c) of each image, (n,); higher = more in-distribution.

    Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks" (2018):
    class means m_c and one covariance S shared by all classes, from the labelled training images. With
    `relative`, minus the distance to one Gaussian of all of them: Ren et al., "A Simple Fix to Mahalanobis Distance for
    Improving Near-OOD Detection" (2021). Directions without variance are left out (pseudo-inverse).
    Raises ValueError without labelled training images.
    """
    held = fitted_on(train, "mahalanobis")
    labelled = held.label >= 0
    if not labelled.any():
        raise ValueError("score 'mahalanobis' needs labelled training images, and all labels are -1")
    known, label = held.image[labelled].astype(np.float64), held.label[labelled]
    classes, member = np.unique(label, return_inverse=True)
    sums = np.zeros((len(classes), known.shape[1]))
    np.add.at(sums, member, known)
    means = sums / np.bincount(member)[:, None]
    image = features.image.astype(np.float64)
    near = squared(image, means, whitening(known - means[member])).min(1)
    if not relative:
        return -near
    middle = known.mean(0, keepdims=True)
    return squared(image, middle, whitening(known - middle))[:, 0] - near


def whitening(centred: Array, /) -> Array:
    """Return W (d, r) with W W^T the pseudo-inverse of the covariance of centred rows (n, d)."""
    value, vector = np.linalg.eigh(centred.T @ centred / len(centred))
    used = value > max(value[-1], 0) * len(value) * np.finfo(np.float32).eps  # features are single precision
    return vector[:, used] / np.sqrt(value[used])


def squared(image: Array, means: Array, white: Array, /) -> Array:
    """Return squared distances (n, c) of rows (n, d) to means (c, d), both whitened."""
    a, b = image @ white, means @ white
    return np.maximum((a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1), 0)
