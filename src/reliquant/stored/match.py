"""Which rows of two tables are the same image: by ids where both have them, else by position; or a refusal."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_128_digest

from reliquant.measures.resampling import PHOTOGRAPH
from reliquant.stored.order import Kind, require_order
from reliquant.stored.read import KINDS, OF_IMAGES, Table

Places = NDArray[np.int64]
BLOCK = 2**22  # numbers that are read at a time


def matched(variant: Table, reference: Table, /, *, text: Kind = "class") -> tuple[Places, Places, tuple[str, ...]]:
    """Return the rows of the variant and those of the reference that are of the same images, and what was assumed.

    Where both tables have ids, each id of one must be once in both, in any order; else the first image of one is the
    first of the other. Labels, keys of photographs and the number of classes of the two must agree. `text` says of what
    the rows of text are, which are matched by position: of classes, or texts that are searched. Raises ValueError
    naming both files and the first row that shows that they are not of the same images, or `text` not in one order.
    """
    about, rows = f"{variant.path} and {reference.path}", (variant.rows(), reference.rows())
    for table, count in zip((variant, reference), rows, strict=True):
        if not any(name in table.arrays for name in OF_IMAGES):
            table.require_one(*KINDS)
        if not count:
            raise ValueError(f"{table.path}: holds no images")
    both_have_ids = "id" in variant.arrays and "id" in reference.arrays
    if both_have_ids:
        place, own = _by_id(variant, reference, about)
        said = [f"{about}: rows are matched by id"]
    else:
        if rows[0] != rows[1]:
            told = "without an id in both they cannot be matched"
            raise ValueError(f"{about}: {rows[0]:,} images in one and {rows[1]:,} in the other; {told}")
        place = own = np.arange(rows[0])
        said = [f"{about}: rows are matched by their position, as {_without_id(variant, reference)}"]
    for name in ("label", PHOTOGRAPH):
        if name in variant.arrays and name in reference.arrays:
            _require_equal(variant, reference, place, own, name)
    _require_classes(variant, reference)
    said += [] if both_have_ids else require_order(variant, reference, "image")
    said += require_order(variant, reference, text)
    return place, own, (*said, *_twice(reference, own))


def _without_id(variant: Table, reference: Table) -> str:
    lacking = [str(table.path) for table in (variant, reference) if "id" not in table.arrays]
    return f"{' and '.join(lacking)} {'has' if len(lacking) == 1 else 'have'} no column of ids"


def _by_id(variant: Table, reference: Table, about: str) -> tuple[Places, Places]:
    """Return the row of the variant for each row of the reference, and the rows of the reference in their order."""
    ids, known = _ids(variant), _ids(reference)
    row = {word: i for i, word in enumerate(ids)}
    place = np.array([row.get(word, -1) for word in known], np.int64)
    lost = np.flatnonzero(place < 0)
    if len(lost):
        told = f"id {known[lost[0]]!r} of {reference.path} is not in {variant.path}"
        raise ValueError(f"{about}: {told}: {len(lost):,} such images; the two must hold the same")
    if len(ids) > len(known):
        there = set(known)
        extra = [word for word in ids if word not in there]
        told = f"id {extra[0]!r} of {variant.path} is not in {reference.path}"
        raise ValueError(f"{about}: {told}: {len(extra):,} such images; the two must hold the same")
    return place, np.arange(len(known))


def _ids(table: Table) -> list[Any]:
    """Return the ids of a table's images as words; raise ValueError naming one that is missing or there twice."""
    values = table.arrays["id"].exact(slice(None))
    values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    if values.ndim != 1:
        raise ValueError(f"{table.path}: id must be one for each image, not of shape {values.shape}")
    if values.dtype.kind == "f":
        if not (np.isfinite(values) & (values == np.floor(values))).all():
            raise ValueError(f"{table.path}: id must hold words or whole numbers, not {values.dtype}")
        values = values.astype(np.int64)
    words: list[str] = []
    seen: dict[str, int] = {}
    for row, value in enumerate(values.tolist()):
        if value is None or value == "":
            raise ValueError(f"{table.path}: image {row} has no id")
        word = str(value)
        if word in seen:
            raise ValueError(f"{table.path}: id {word!r} is that of image {seen[word]} and of image {row}")
        seen[word] = row
        words.append(word)
    return words


def _require_equal(variant: Table, reference: Table, place: Places, own: Places, name: str) -> None:
    """Raise ValueError unless labels, or keys of photographs, agree at matched rows."""
    mine, theirs = (t.arrays[name].exact(slice(None)).reshape(-1) for t in (variant, reference))
    if len(mine) != len(place) or len(theirs) != len(own):
        return  # told by whoever reads the column
    if (mine.dtype == object) != (theirs.dtype == object):
        return  # names beside numbers, which only the classes can compare
    differ = np.flatnonzero(mine[place] != theirs[own])
    if len(differ):
        first = int(differ[0])
        what = "the label" if name == "label" else "the key of a photograph"
        raise ValueError(
            f"{variant.path}: {len(differ):,} of {len(own):,} images have another {what.split(' ', 1)[1]} than in"
            f" {reference.path}: image {int(place[first])} has {mine[place[first]]}, there {theirs[own[first]]};"
            " these are not the same images in the same order"
        )


def _require_classes(variant: Table, reference: Table) -> None:
    """Raise ValueError where two tables are of different numbers of classes."""
    (mine, of_mine), (theirs, of_theirs) = _class_count(variant), _class_count(reference)
    if mine and theirs and mine != theirs:
        told = f"{mine} classes ({of_mine}), and {theirs} ({of_theirs}) in {reference.path}"
        raise ValueError(f"{variant.path}: has {told}; changes need the same classes")


def _class_count(table: Table) -> tuple[int, str]:
    """Return of how many classes a table is, and which column says so; 0 where none does."""
    for name, axis in (("probabilities", 1), ("logits", 1), ("text", 0)):
        if name in table.arrays and len(table.arrays[name].shape) == 2:
            return table.arrays[name].shape[axis], name
    return 0, ""


def _twice(table: Table, rows: Places) -> list[str]:
    """Say how many images of a table have a photograph that another one has, too, or the same embedding."""
    if PHOTOGRAPH not in table.arrays:
        return _same_embedding(table)
    keys, count = np.unique(table.arrays[PHOTOGRAPH].exact(slice(None)), return_counts=True)
    if len(keys) == len(rows):
        return []
    told = f"{int((count > 1).sum()):,} photographs are there more than once"
    return [f"{table.path}: {told}; intervals take all images of one photograph for one"]


def _same_embedding(table: Table) -> list[str]:
    """Say how many images of a table have the embedding of an earlier one, to the bit, and which is the first."""
    if "image" not in table.arrays or len(table.arrays["image"].shape) != 2:
        return []
    column = table.arrays["image"]
    seen: dict[bytes, int] = {}
    first, count = (0, 0), 0
    step = max(1, BLOCK // max(1, column.shape[1]))
    for start in range(0, len(column), step):
        for row, values in enumerate(np.ascontiguousarray(column[start : start + step]), start=start):
            earlier = seen.setdefault(xxh3_128_digest(values.data), row)
            if earlier != row:
                first, count = first if count else (earlier, row), count + 1
    if not count:
        return []
    told = f"image {first[1]} has the embedding of image {first[0]}, and {count:,} images that of an earlier one"
    return [f"{table.path}: {told}: is one image there twice? Intervals take them for different images"]
