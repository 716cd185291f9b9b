"""What a dataset plugin returns: labelled images that are read one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from reliquant.study.prompts import template_problems


class UnreadableImage(ValueError):
    """One image cannot be decoded; the message names it."""


@dataclass(frozen=True)
class Dataset:
    """Hold n labelled images: `read(i)` decodes image i to uint8 (h, w, 3); labels (n,) are -1 outside the classes.

    A prompt is a template with the name of a class in the place of its {}. `names` say which file or record an image
    is; `captions` and `groups` hold one word or text per image, or are None. A reader does not know what its images
    are for, so it refuses no label: `label_problem` says what is wrong with them, and `caption_problem` why there are
    no captions, to whoever needs them. `all_captions` lists for each image every caption that it has, `captions` being
    the first of each; None where an image has one. `passed_over` counts by suffix what is no data, `assumed` says what
    the reader chose by itself. Raises ValueError for a dataset without images, for a label outside the classes (naming
    the image), for captions that do not begin with an image's own, and for a template that does not hold {} once.
    """

    classes: list[str]
    templates: list[str]
    labels: NDArray[np.int64]
    read: Callable[[int], NDArray[np.uint8]]
    names: list[str]
    captions: list[str] | None = None
    groups: list[str] | None = None
    all_captions: list[list[str]] | None = None
    label_problem: str | None = None
    caption_problem: str | None = None
    passed_over: Mapping[str, int] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.labels):
            raise ValueError("the dataset is empty")
        bad = np.flatnonzero((self.labels < -1) | (self.labels >= len(self.classes)))
        if len(bad):
            first = f"{self.names[bad[0]]}: label {self.labels[bad[0]]} is outside the {len(self.classes)} classes"
            raise ValueError(f"{first} ({len(bad)} such images)")
        if self.all_captions is not None and self.captions != [captions[0] for captions in self.all_captions]:
            raise ValueError("the captions of an image must be the first of all that it has")
        for problem in template_problems(self.templates):
            raise ValueError(problem)


def require_labels(classes: list[str], labels: NDArray[np.int64], problem: str | None, about: str, /) -> None:
    """Raise ValueError unless there are classes to tell apart and every label (n,) is one of them.

    `problem` is the `label_problem` of the dataset or of its `meta.json`, `about` names the images.
    """
    if problem:
        raise ValueError(f"{about}: {problem}")
    if not classes:
        raise ValueError(f"{about}: has no classes to tell apart")
    if len(classes) == 1:
        raise ValueError(f"{about}: has one class alone, {classes[0]!r}; there is nothing to tell apart")
    if bad := int((labels < 0).sum()):
        raise ValueError(f"{about}: {bad} of {len(labels)} images have no class")


def subset(n: int, limit: int | None, /) -> NDArray[np.int64]:
    """Choose `limit` of n images (all when None), the same ones every time, in order.

    >>> subset(5, 2).tolist()
    [2, 4]
    """
    if limit is None or limit >= n:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).permutation(n)[:limit])
