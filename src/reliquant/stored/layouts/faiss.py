"""Flat indexes of FAISS, which hold vectors as they are; memory-mapped, read without FAISS.

The layout is that of `faiss.write_index`: four letters, width (int32), vectors (int64), two unused int64, trained
(bool), metric (int32, with a float32 after it where it is above 1), how many floats follow (int64), the floats. An
`IDMap` has those letters, the same facts, the index inside, and then its ids (their number, and as many int64).
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import IO

import numpy as np

from reliquant.files.digests import DamagedFile
from reliquant.stored.column import Column, mapped

FLAT = (b"IxFI", b"IxF2", b"IxFl")  # by inner product, by distance, by another metric
WITH_IDS = (b"IxMp", b"IxM2")
FACTS = struct.Struct("<iqqq?i")


def begins_an_index(head: bytes, /) -> bool:
    """Whether a file that begins with these bytes is an index of FAISS.

    >>> begins_an_index(b"IxFI" + bytes(40)), begins_an_index(b"Index of pages")
    (True, False)
    """
    return head[:2] in (b"Ix", b"Iw", b"IB", b"IH", b"IN") and len(head) > 30 and b"\0" in head[4:12]


def columns(path: Path, /) -> dict[str, Column]:
    """Return the vectors of a flat index by the name of the file, and their ids where it has them.

    Raises DamagedFile where it is truncated, and ValueError for an index that is not flat.
    """
    with open(path, "rb") as file:
        try:
            letters, rows, width = _facts(file)
            mapping = letters in WITH_IDS
            if mapping:
                letters, rows, width = _facts(file)
            if letters not in FLAT:
                kind = letters.decode("latin-1")
                told = "only flat ones (IndexFlatIP, IndexFlatL2) hold the vectors as they are"
                raise ValueError(f"{path}: an index of FAISS of kind {kind!r}; {told}")
            (count,) = struct.unpack("<q", file.read(8))
            offset, size = file.tell(), os.fstat(file.fileno()).st_size
            if rows < 0 or width < 0 or count != rows * width or offset + 4 * count > size:
                raise DamagedFile(f"{path}: truncated: declares {rows:,} vectors of {width}")
            found = {path.stem: mapped(path, path.stem, (rows, width), np.dtype("<f4"), offset=offset)}
            if mapping:
                file.seek(offset + 4 * count)
                (ids,) = struct.unpack("<q", file.read(8))
                if ids != rows or file.tell() + 8 * ids > size:
                    raise DamagedFile(f"{path}: truncated: declares {ids:,} ids for {rows:,} vectors")
                found["id"] = mapped(path, "id", (rows,), np.dtype("<i8"), offset=file.tell())
        except struct.error as error:
            raise DamagedFile(f"{path}: truncated index of FAISS ({error})") from error
    return found


def _facts(file: IO[bytes]) -> tuple[bytes, int, int]:
    """Read the letters of an index, its number of vectors and their width; raise struct.error where the file ends."""
    letters = file.read(4)
    width, rows, _, _, _, metric = FACTS.unpack(file.read(FACTS.size))
    if metric > 1:
        file.read(4)
    return letters, rows, width
