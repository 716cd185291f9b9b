"""How often the prediction is right, and which predictions quantization changed; free of torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.integer]


def ranks(logits: NDArray[np.floating], label: Integers, /) -> NDArray[np.int32]:
    """Return the place of the true class in each row, (n,): 0 = top; -1 where the label is -1.

    Among equal logits the first class comes first, as in argmax. Raises ValueError for labels outside the classes.

    >>> ranks(np.array([[1.0, 3.0, 2.0], [5.0, 5.0, 0.0]]), np.array([2, 1]))
    array([1, 1], dtype=int32)
    """
    labels_within(label, logits.shape[1])
    own = np.take_along_axis(logits, np.maximum(label, 0)[:, None], axis=1)
    earlier = np.arange(logits.shape[1]) < np.asarray(label)[:, None]
    ahead = (logits > own).sum(axis=1) + ((logits == own) & earlier).sum(axis=1)
    return np.where(label < 0, -1, ahead).astype(np.int32)


def labels_within(label: Integers, classes: int, /) -> None:
    """Raise ValueError unless every label is a class number, or -1 for none."""
    outside = np.flatnonzero((label < -1) | (label >= classes))
    if len(outside):
        i = int(outside[0])
        raise ValueError(f"label {int(label[i])} of image {i} is outside the {classes} classes (-1 means none)")


def class_numbers(label: NDArray[Any], /) -> NDArray[np.int64]:
    """Return labels (n,) or (n, 1) of any type as int64; raise ValueError naming the first that is no whole number.

    >>> class_numbers(np.array([[2.0], [0.0]], np.float32)).tolist()
    [2, 0]
    """
    flat = label[:, 0] if label.ndim == 2 and label.shape[1] == 1 else label
    if flat.ndim != 1:
        raise ValueError(f"labels must be one class number per image, (n,), not shape {label.shape}")
    if flat.dtype.kind not in "iufb":
        raise ValueError(f"labels must be numbers, not {flat.dtype}")
    whole = np.ones(len(flat), bool)
    if flat.dtype.kind == "f":  # beyond 2^31 there are no classes, and no int64 for the largest
        whole = (np.abs(flat) < 2**31) & (flat == np.floor(flat))
    if not whole.all():
        first = int(np.argmin(whole))
        raise ValueError(f"label {flat[first]} of image {first} is no class number: {int((~whole).sum())} such images")
    return flat.astype(np.int64)


def top_k(rank: Integers, /, *, k: int = 1) -> float:
    """Return the share of images whose true class is among the k most likely; NaN without images.

    >>> top_k(np.array([0, 0, 3, 7]), k=5)
    0.75
    """
    return float(np.mean((rank >= 0) & (rank < k))) if len(rank) else np.nan


def per_class(prediction: Integers, label: Integers, /, *, classes: int) -> NDArray[np.float64]:
    """Return the accuracy (recall) of each class, (classes,); NaN for a class without images.

    >>> per_class(np.array([0, 1, 1]), np.array([0, 0, 1]), classes=3)
    array([0.5, 1. , nan])
    """
    labels_within(label, classes)
    count = np.bincount(label, minlength=classes).astype(float)
    right = np.bincount(label[prediction == label], minlength=classes)
    return np.divide(right, count, out=np.full(classes, np.nan), where=count > 0)


def balanced(prediction: Integers, label: Integers, /) -> float:
    """Return the mean accuracy of the classes that have images; NaN without images.

    >>> balanced(np.array([0, 0, 0, 0]), np.array([0, 0, 0, 1]))
    0.5
    """
    return float(np.nanmean(per_class(prediction, label, classes=int(label.max()) + 1))) if len(label) else np.nan


def agreement(prediction: Integers, other: Integers, /) -> float:
    """Return the share of images on which two models predict the same class.

    >>> agreement(np.array([0, 1]), np.array([0, 2]))
    0.5
    """
    return float(np.mean(prediction == other)) if len(prediction) else np.nan


def flips(prediction: Integers, baseline: Integers, label: Integers, /) -> dict[str, float]:
    """Return the shares of images that went right_to_wrong, wrong_to_right and wrong_to_wrong (another wrong class).

    Equal accuracy may hide many flips (Dutta et al. 2024, "Accuracy is not all you need").

    >>> flips(np.array([1, 0]), np.array([0, 1]), np.array([0, 0]))
    {'right_to_wrong': 0.5, 'wrong_to_right': 0.5, 'wrong_to_wrong': 0.0}
    """
    now, was = prediction == label, baseline == label
    moved = ~now & ~was & (prediction != baseline)
    parts = {"right_to_wrong": was & ~now, "wrong_to_right": now & ~was, "wrong_to_wrong": moved}
    return {name: float(np.mean(part)) if len(part) else np.nan for name, part in parts.items()}
