"""Embeddings of captioned images, and what searches what: the three directions of retrieval; free of torch.

An item of a gallery is a right answer to a query where both have the same key: the image that a text belongs to, or the
class of an image. What has no key (-1: a text of no image, an image of no class) asks nothing and is a right answer to
nothing, but stays in the gallery, where it may be found wrongly; an image without a text likewise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DIRECTIONS = ("image_to_text", "text_to_image", "image_to_image")
LENGTH = 1e-2  # how far a row's length may be from 1: the rounding of float16 and bfloat16


@dataclass(frozen=True)
class Captioned:
    """Hold the embeddings of a captioned set by one model.

    `image` (n, d) and `text` (m, d) are float32 rows of length 1, `image_of` (m,) the image of each text, -1 for none;
    `label` (n,) the class of each image, -1 for none; `photographs` (n,) keys of the images, equal where they are the
    same photograph. Raises ValueError naming the row that is wrong; `unit_rows` divides rows by their length.
    """

    image: NDArray[np.float32]
    text: NDArray[np.float32]
    image_of: NDArray[np.int64]
    label: NDArray[np.int64] | None = None
    photographs: NDArray[np.uint64] | None = None

    def __post_init__(self) -> None:
        for name in ("image", "text"):
            _require_unit(name, getattr(self, name))
        n, m = len(self.image), len(self.text)
        if self.image.shape[1] != self.text.shape[1]:
            widths = f"images have {self.image.shape[1]} numbers a row and texts {self.text.shape[1]}"
            raise ValueError(f"{widths}: they must be of one model")
        for name, values, rows in (
            ("image_of", self.image_of, m),
            ("label", self.label, n),
            ("photographs", self.photographs, n),
        ):
            if values is not None and np.shape(values) != (rows,):
                raise ValueError(f"{name} has shape {np.shape(values)}; there are {rows} rows, so it must be ({rows},)")
        wrong = np.flatnonzero((self.image_of < -1) | (self.image_of >= n))
        if len(wrong):
            at = wrong[0]
            raise ValueError(f"text {at} is of image {self.image_of[at]}; images are 0 to {n - 1}, and -1 is none")
        if self.label is not None and len(self.label) and self.label.min() < -1:
            raise ValueError(f"label {self.label.min()} is below -1, which stands for an image of no class")


def unit_rows(rows: NDArray[np.floating], name: str = "rows", /) -> NDArray[np.float32]:
    """Divide each row of (n, d) by its length; ValueError naming the first row of zeros, or that holds NaN.

    >>> unit_rows(np.array([[3.0, 4.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """
    exact = np.asarray(rows, np.float64)
    length = np.sqrt(np.einsum("nd,nd->n", exact, exact))
    wrong = np.flatnonzero(~(np.isfinite(length) & (length > 0)))
    if len(wrong):
        told = "holds only zeros" if length[wrong[0]] == 0 else "holds a number that is not finite"
        raise ValueError(f"{name}: row {wrong[0]} {told}: it has no direction, and cannot be searched")
    return (exact / length[:, None]).astype(np.float32)


def _require_unit(name: str, rows: NDArray[np.float32]) -> None:
    if rows.ndim != 2 or rows.dtype != np.float32 or not len(rows):
        raise ValueError(
            f"{name} is {rows.dtype} of shape {rows.shape}; it must be float32 (rows, d) with a row at least"
        )
    square = np.einsum("nd,nd->n", rows, rows)
    wrong = np.flatnonzero(~(np.abs(square - 1) <= 2 * LENGTH))  # NaN is wrong too
    if len(wrong):
        length = float(np.sqrt(square[wrong[0]]))
        raise ValueError(f"{name} {wrong[0]} has length {length:.4g} instead of 1: divide each row by its length")


@dataclass(frozen=True)
class Task:
    """Hold what is searched by what.

    `query` (q, d) and `gallery` (g, d) are float32; keys (q,) and (g,) are at least 0 and equal for right answers, -1
    for none. `asker` (q,) is the row of the image that a query is, or belongs to. `itself` (q,) is the place in the
    gallery that is no answer, as it is the query; None where there is none.
    """

    query: NDArray[np.float32]
    gallery: NDArray[np.float32]
    query_key: NDArray[np.int64]
    gallery_key: NDArray[np.int64]
    asker: NDArray[np.int64]
    itself: NDArray[np.int64] | None = None

    @property
    def candidates(self) -> int:
        """How many items of the gallery each query searches."""
        return len(self.gallery) - (self.itself is not None)


def task(direction: str, asking: Captioned, library: Captioned, /) -> Task | None:
    """Return one of `DIRECTIONS` with queries of one model in the library of another, or of the same model.

    Only queries that have a right answer ask: an image without a text does not, nor one that is alone in its class.
    None where no query has one, or where there are no classes. Both hold the same set (`require_same_set`).
    """
    images, texts = np.arange(len(asking.image)), np.arange(len(asking.text))
    if direction == "image_to_text":
        found = Task(asking.image, library.text, images, library.image_of, images)
    elif direction == "text_to_image":
        found = Task(asking.text, library.image, asking.image_of, images, asking.image_of)
    elif direction != "image_to_image":
        raise ValueError(f"direction {direction!r} is unknown; there are {', '.join(DIRECTIONS)}")
    elif asking.label is None or library.label is None:
        return None
    else:
        found = Task(asking.image, library.image, asking.label, library.label, images, itself=images)
    right = right_answers(found)
    ask = texts[right > 0] if direction == "text_to_image" else images[right > 0]
    if not len(ask):
        return None
    own = None if found.itself is None else found.itself[ask]
    query = found.query if len(ask) == len(right) else found.query[ask]
    return Task(query, found.gallery, found.query_key[ask], found.gallery_key, found.asker[ask], own)


def right_answers(task: Task, /) -> NDArray[np.int64]:
    """Return how many right answers each query has in the gallery, (q,)."""
    keys, counts = np.unique(task.gallery_key[task.gallery_key >= 0], return_counts=True)
    place = np.searchsorted(keys, task.query_key)
    there = np.zeros(len(task.query_key), np.int64)
    known = place < len(keys)
    known[known] = keys[place[known]] == task.query_key[known]
    there[known] = counts[place[known]]
    return there - (task.itself is not None) * known


def require_same_set(one: Captioned, other: Captioned, /) -> None:
    """Raise ValueError where two models' embeddings are not of the same images and texts in the same order."""
    for name in ("image", "text"):
        mine, theirs = getattr(one, name).shape, getattr(other, name).shape
        if mine[0] != theirs[0]:
            raise ValueError(f"{mine[0]} {name}s here and {theirs[0]} in the reference: they must be of the same set")
        if mine[1] != theirs[1]:
            raise ValueError(f"{name} rows have {mine[1]} numbers here and {theirs[1]} in the reference")
    for name in ("image_of", "label", "photographs"):
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine is None or theirs is None:
            continue
        different = np.flatnonzero(mine != theirs)
        if len(different):
            at = different[0]
            raise ValueError(f"{name} {at} is {mine[at]} here and {theirs[at]} in the reference: the sets differ")
