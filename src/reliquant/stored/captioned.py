"""A table of images, texts and the image of each text as a captioned set that can be searched."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reliquant.files.stored_frames import errors_named
from reliquant.measures.resampling import PHOTOGRAPH
from reliquant.measures.retrieval import Captioned, require_same_set
from reliquant.stored.match import matched
from reliquant.stored.read import Table
from reliquant.stored.unit_rows import UnitRows

Places = NDArray[np.int64]


def captioned_of(table: Table, /) -> tuple[Captioned, tuple[str, ...]]:
    """Return the embeddings of a table, each divided by its length, and what was assumed.

    Without `image_of`, which says by row, from 0, or by id which image each text is of (-1: none), as many texts as
    images are taken for one caption each, in order. Raises ValueError naming the file, and the column or row that is
    wrong.
    """
    table.require("image", "text")
    said: tuple[str, ...] = ()
    image, text = (UnitRows(table.path, name, table.arrays[name])[:] for name in ("image", "text"))
    label = _labels(table)
    photographs = _whole(table, PHOTOGRAPH) if PHOTOGRAPH in table.arrays else None
    if "image_of" in table.arrays:
        image_of = _image_of(table)
    elif len(image) == len(text):
        said, image_of = (f"{table.path}: text i is of image i, as there is no image_of",), np.arange(len(text))
    else:
        told = f"{len(image):,} images and {len(text):,} texts need image_of, the row of each text's image"
        raise ValueError(f"{table.path}: {told} (--names image_of=NAME where it has another name)")
    with errors_named(table.path):
        keys = None if photographs is None else photographs.astype(np.uint64)
        return Captioned(image, text, image_of, label, keys), said


def matched_pair(variant: Table, reference: Table, /) -> tuple[Captioned, Captioned, tuple[str, ...]]:
    """Return two tables of the same images and texts in one order, the reference's, and what was assumed.

    Images are matched as `match.matched` says; texts by their position. Keys of photographs are the reference's, so
    that all variants weigh images alike. Raises ValueError naming both files where they differ.
    """
    about = f"{variant.path} beside {reference.path}"
    numbers = [len(table.arrays["text"]) for table in (variant, reference) if "text" in table.arrays]
    if len(set(numbers)) > 1:
        raise ValueError(
            f"{about}: {numbers[0]:,} texts here and {numbers[1]:,} in the reference; they must be the same"
        )
    place, own, said = matched(variant, reference, text="text")
    (mine, told), (theirs, of_theirs) = captioned_of(variant), captioned_of(reference)
    one, other = _ordered(mine, place), _ordered(theirs, own)
    try:
        require_same_set(one, other)
    except ValueError as error:
        raise ValueError(f"{about}: {error}; images and texts must be the same, and texts in one order") from error
    if "id" in variant.arrays and "id" in reference.arrays:
        said = (*said, f"{about}: texts are matched by their position, as ids are of images")
    return replace(one, photographs=other.photographs), other, (*said, *told, *of_theirs)


def _ordered(one: Captioned, place: Places) -> Captioned:
    """Return the set with its images in another order: the new image i is the old one `place[i]`."""
    at = np.full(len(one.image) + 1, -1)  # the last, for texts of no image
    at[place] = np.arange(len(place))
    label = None if one.label is None else one.label[place]
    keys = None if one.photographs is None else one.photographs[place]
    return Captioned(one.image[place], one.text, at[one.image_of], label, keys)


def _image_of(table: Table) -> Places:
    """Return the row of each text's image, -1 for none, from rows or from the ids of images.

    Raises ValueError naming a text of an id that no image has, and two images of one id.
    """
    values = _column(table, "image_of")
    if values.dtype != object:
        return _whole(table, "image_of")
    if "id" not in table.arrays:
        told = "holds words; it must hold rows of images from 0, or their ids beside a column of ids"
        raise ValueError(f"{table.path}: image_of {told} (--names id=NAME where it has another name)")
    ids = [str(word) for word in _column(table, "id").tolist()]
    row = {word: i for i, word in enumerate(ids)}
    if len(row) < len(ids):
        twice = next(word for word in ids if ids.count(word) > 1)
        raise ValueError(f"{table.path}: id {twice!r} is that of two images; image_of must name one")
    row = {"": -1, "-1": -1, "None": -1} | row
    words = [str(word) for word in values.tolist()]
    for text, word in enumerate(words):
        if word not in row:
            raise ValueError(f"{table.path}: text {text} is of image {word!r}, which no id is")
    return np.array([row[word] for word in words], np.int64)


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
