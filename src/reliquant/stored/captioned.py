"""A table of images, texts and the image of each text as a captioned set that can be searched."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from reliquant.measures.resampling import PHOTOGRAPH
from reliquant.measures.retrieval import Captioned
from reliquant.stored.match import matched
from reliquant.stored.naming import naming
from reliquant.stored.read import Table
from reliquant.stored.unit_rows import UnitRows

Places = NDArray[np.int64]


def captioned_of(table: Table, /) -> tuple[Captioned, tuple[str, ...]]:
    """Return the embeddings of a table, each divided by its length, and what was assumed.

    Without `image_of`, which says from 0 on which image each text is of (-1: none), as many texts as images are taken
    for one caption each, in order. Raises ValueError naming the file, and the column or row that is wrong.
    """
    table.require("image", "text")
    said: tuple[str, ...] = ()
    image, text = (UnitRows(table.path, name, table.arrays[name])[:] for name in ("image", "text"))
    label = _labels(table)
    photographs = _whole(table, PHOTOGRAPH) if PHOTOGRAPH in table.arrays else None
    if "image_of" in table.arrays:
        image_of = _whole(table, "image_of")
    elif len(image) == len(text):
        said, image_of = (f"{table.path}: text i is of image i, as there is no image_of",), np.arange(len(text))
    else:
        told = f"{len(image):,} images and {len(text):,} texts need image_of, the row of each text's image"
        raise ValueError(f"{table.path}: {told} (--names image_of=NAME where it has another name)")
    with naming(table.path):
        keys = None if photographs is None else photographs.astype(np.uint64)
        return Captioned(image, text, image_of, label, keys), said


def matched_pair(variant: Table, reference: Table, /) -> tuple[Captioned, Captioned, tuple[str, ...]]:
    """Return two tables of the same images and texts in one order, the reference's, and what was assumed.

    Images are matched as `match.matched` says; texts by their position. Raises ValueError where they differ.
    """
    place, own, said = matched(variant, reference, text="text")
    (mine, told), (theirs, of_theirs) = captioned_of(variant), captioned_of(reference)
    return _ordered(mine, place), _ordered(theirs, own), (*said, *told, *of_theirs)


def _ordered(one: Captioned, place: Places) -> Captioned:
    """Return the set with its images in another order: the new image i is the old one `place[i]`."""
    at = np.full(len(one.image) + 1, -1)  # the last, for texts of no image
    at[place] = np.arange(len(place))
    label = None if one.label is None else one.label[place]
    keys = None if one.photographs is None else one.photographs[place]
    return Captioned(one.image[place], one.text, at[one.image_of], label, keys)


def _labels(table: Table) -> NDArray[np.int64] | None:
    """Return the class of each image as a number, -1 for none; names in alphabetical order."""
    if "label" not in table.arrays:
        return None
    values = _column(table, "label")
    if values.dtype == object:
        return np.unique(values.astype(str), return_inverse=True)[1].astype(np.int64)
    return _whole(table, "label")


def _whole(table: Table, name: str) -> NDArray[np.int64]:
    """Return a column of whole numbers."""
    values = _column(table, name)
    if values.dtype.kind not in "iu":
        raise ValueError(f"{table.path}: {name} must hold whole numbers, not {table.arrays[name].stored}")
    return values if name == PHOTOGRAPH else values.astype(np.int64)


def _column(table: Table, name: str) -> NDArray[Any]:
    """Return the values of a column of one number or word a row."""
    values = table.arrays[name].exact(slice(None))
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
