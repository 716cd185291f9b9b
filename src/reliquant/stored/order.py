"""Whether embeddings at the same rows of two tables are of the same thing: by the rows that are nearest to each other.

A variant's embedding of an image lies nearer to the reference's embedding of that image than to those of others, unless
quantization has left little of it. So few rows that are nearest to themselves are a doubt, which is said. Rows in
another order are another sign: then each has a counterpart that is far nearer than all other rows, which chance and
noise do not make (the ratio test of Lowe 2004 for matches of image features). These are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from reliquant.stored.column import Column
from reliquant.stored.read import Table

Floats = NDArray[np.float32]
Kind = Literal["image", "class", "text"]
LOOKED_AT = 256  # rows that say whether two tables have one order
BLOCK = 2**22  # numbers that are read at a time
TIE = 1e-6  # difference of cosines that rounding makes
SURE = 0.99  # share of rows nearest to themselves from which on nobody looks for others
DOUBTED = 0.5  # share below which the order is doubted
FEW = 0.02  # share of rows that are clearly others, above which the order is doubted
REFUSED = 0.25  # share above which it is refused
RATIO = 0.5  # how much nearer, in squared distance, a counterpart is than the second nearest row
ALIKE = 0.5  # least cosine of a counterpart
FEWEST = 8  # rows of which chance leaves fewer than half nearest to themselves
FEWEST_REFUSED, NARROWEST, LEAST = 4, 16, 192  # rows, numbers of a row, and of all rows: with fewer it may be chance
COLUMN: dict[Kind, str] = {"image": "image", "class": "text", "text": "text"}
REMEDY: dict[Kind, str] = {
    "image": "store both in one order, or the ids of images in both (column id), by which rows are matched",
    "class": "store text in the reference's order of classes, which is that of the labels",
    "text": "store the texts of both in one order",
}
PLURAL: dict[Kind, str] = {"image": "images", "class": "classes", "text": "texts"}


@dataclass(frozen=True)
class Order:
    """Hold how many of the rows looked at are nearest to the same row of the reference, and which clearly to others.

    `others` (k, 2) are rows of the variant and the rows of the reference that they are counterparts of.
    """

    rows: int
    own: int
    others: NDArray[np.int64]


def require_order(variant: Table, reference: Table, of: Kind, /) -> list[str]:
    """Raise ValueError where rows are clearly of other images, classes or texts than those of the same row.

    Returns a sentence where that is doubted only, and nothing where all is well or nothing can be compared: embeddings
    of another width, other numbers of rows, values that are not finite.
    """
    name = COLUMN[of]
    if name not in variant.arrays or name not in reference.arrays:
        return []
    found = order_of(variant.arrays[name], reference.arrays[name])
    if found is None:
        return []
    count, things = len(found.others), PLURAL[of]
    first = f" ({of} {found.others[0, 0]} is {of} {found.others[0, 1]} there)" if count else ""
    numbers = found.rows * variant.arrays[name].shape[1]
    if count > REFUSED * found.rows and found.rows >= FEWEST_REFUSED and numbers >= LEAST:
        told = f"{count} of {found.rows} {things} looked at are clearly other {things} than in the same row of"
        raise ValueError(f"{variant.path}: {told} {reference.path}{first}: {REMEDY[of]}")
    if count <= FEW * found.rows and (found.own >= DOUBTED * found.rows or found.rows < FEWEST):
        return []
    told = f"{found.own} of {found.rows} {things} looked at are nearest to themselves by their embeddings"
    clear = f", and {count} clearly other ones{first}" if count else ""
    return [
        f"{variant.path} and {reference.path}: {told}{clear}: if both are of one model, either they are not the same"
        f" {things} in the same order, or the variant's embeddings say little of them"
    ]


def order_of(variant: Column, reference: Column, /) -> Order | None:
    """Say of up to 256 rows of embeddings (n, d) whether they are of the same things as the reference's (n, d).

    Cosines are those of rows less their mean, so that what all embeddings share says nothing. None where the two have
    no two axes of the same lengths, one row, or rows that are not finite.
    """
    if variant.shape != reference.shape or len(variant.shape) != 2 or len(variant) < 2:
        return None
    if variant.dtype.kind != "f" or reference.dtype.kind != "f":
        return None
    rows = np.unique(np.linspace(0, len(variant) - 1, min(LOOKED_AT, len(variant))).astype(np.int64))
    mine, theirs = variant[rows], reference[rows]
    if not (np.isfinite(mine).all() and np.isfinite(theirs).all()):
        return None
    means = [_unit(side).mean(axis=0) for side in (mine, theirs)]
    mine, theirs = _centred(mine, means[0]), _centred(theirs, means[1])
    cosine = mine @ theirs.T
    own = int((np.diag(cosine) >= cosine.max(axis=1) - TIE).sum())
    if own >= SURE * len(rows) or variant.shape[1] < NARROWEST:
        return Order(len(rows), own, np.empty((0, 2), np.int64))
    nearest, clear = _counterparts(mine, reference, means[1])
    clear &= nearest != rows
    back = mine @ _centred(reference[nearest], means[1]).T  # a row that is the nearest of many is no counterpart
    clear &= back.argmax(axis=0) == np.arange(len(rows))
    return Order(len(rows), own, np.stack([rows, nearest], axis=1)[clear])


def _counterparts(mine: Floats, reference: Column, mean: NDArray[np.float64]) -> tuple[NDArray[np.int64], Any]:
    """Return the nearest of all rows of the reference for each row (m, d), and whether it is far nearer than others."""
    at, row = np.arange(len(mine)), np.zeros(len(mine), np.int64)
    best, second = np.full((2, len(mine)), -np.inf)
    step = max(1, BLOCK // max(1, reference.shape[1]))
    for start in range(0, len(reference), step):
        with np.errstate(all="ignore"):  # what is not finite is refused by whoever reads it
            cosine = mine @ _centred(reference[start : start + step], mean).T
        nearest = cosine.argmax(axis=1)
        top = cosine[at, nearest].astype(float)
        cosine[at, nearest] = -np.inf
        second = np.maximum(np.maximum(second, cosine.max(axis=1)), np.minimum(best, top))
        row, best = np.where(top > best, start + nearest, row), np.maximum(best, top)
    return row, (best > ALIKE) & (1 - best < RATIO * (1 - second))


def _centred(rows: NDArray[Any], mean: NDArray[np.float64]) -> Floats:
    """Return the directions of rows (m, d) from the mean (d,) of unit rows."""
    return _unit(_unit(rows) - mean).astype(np.float32)


def _unit(rows: NDArray[Any]) -> NDArray[np.float64]:
    wide = rows.astype(float)
    return wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), np.finfo(float).tiny)
