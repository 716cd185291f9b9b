"""Similarities of images and classes in double precision, block by block: what the OOD scores reduce; free of torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from reliquant.evaluation.features import Features

Array = NDArray[np.float64]


def by_cosine(features: Features, reduce: Callable[[Array], Array], /, *, rows: int = 4096) -> Array:
    """Apply `reduce` (m, c) -> (m,) to the cosines of images with classes, `rows` images at a time; return (n,).

    Cosines are computed in double precision from the features on: 20,000 MCM scores in single precision hold hundreds
    of ties, and in bfloat16 only 27 values. They are computed block by block, as 50,000 x 1,000 doubles are 400 MB.
    """
    text = features.text.T.astype(np.float64)  # (d, c)
    image = features.image
    blocks = [reduce(image[i : i + rows].astype(np.float64) @ text) for i in range(0, len(image), rows)]
    return np.concatenate(blocks) if blocks else np.empty(0)


def by_logits(features: Features, reduce: Callable[[Array], Array], /) -> Array:
    """Apply `reduce` (m, c) -> (m,) to logits: cosines times the model's own scale, plus its bias; return (n,)."""
    return by_cosine(features, lambda cosine: reduce(features.logit_scale * cosine + features.logit_bias))


def positive(name: str, value: float, /) -> float:
    """Return a config word's value that must be finite and above 0; raise ValueError naming the word."""
    if not 0 < value < np.inf:
        raise ValueError(f"{name} must be finite and above 0, got {value}")
    return value


def fitted_on(train: Features | None, score: str, /) -> Features:
    """Return the training features that a score fits on; raise ValueError naming the score when there are none."""
    if train is None or not len(train.image):
        raise ValueError(f"score {score!r} fits on in-distribution training features, and there are none")
    return train
