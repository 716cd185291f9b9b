"""What a dataset plugin returns: labelled images that are read one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


class UnreadableImage(ValueError):
    """One image cannot be decoded; the message names it."""


@dataclass(frozen=True)
class Dataset:
    """Hold n labelled images: `read(i)` decodes image i to uint8 (h, w, 3); labels (n,) are -1 outside the classes.

    A prompt is a template with the name of a class in the place of its {}. `names` say which file or record an image
    is; `captions` and `groups` hold one word or text per image, or are None. Raises ValueError for a dataset without
    images, for a label outside the classes (naming the image), and for a template that does not hold {} once.
    """

    classes: list[str]
    templates: list[str]
    labels: NDArray[np.int64]
    read: Callable[[int], NDArray[np.uint8]]
    names: list[str]
    captions: list[str] | None = None
    groups: list[str] | None = None

    def __post_init__(self) -> None:
        if not len(self.labels):
            raise ValueError("the dataset is empty")
        bad = np.flatnonzero((self.labels < -1) | (self.labels >= len(self.classes)))
        if len(bad):
            first = f"{self.names[bad[0]]}: label {self.labels[bad[0]]} is outside the {len(self.classes)} classes"
            raise ValueError(f"{first} ({len(bad)} such images)")
        for template in self.templates:
            if template.count("{}") != 1:
                raise ValueError(f"template {template!r} must hold {{}} once, where the class name goes")


def subset(n: int, limit: int | None, /) -> NDArray[np.int64]:
    """Choose `limit` of n images (all when None), the same ones every time, in order.

    >>> subset(5, 2).tolist()
    [2, 4]
    """
    if limit is None or limit >= n:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).permutation(n)[:limit])
