"""A column of a table: its shape at once, its rows when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from reliquant.files.digests import DamagedFile

Rows = slice | NDArray[np.integer]
WHOLE: np.dtype[Any] = np.dtype(np.int64)
WORDS: np.dtype[Any] = np.dtype(object)
KINDS: dict[str, np.dtype[Any]] = {"f": np.dtype(np.float32), "i": WHOLE, "u": WHOLE, "b": WHOLE}


@dataclass(frozen=True)
class Column:
    """Hold what a table says of a column, and how its rows are read.

    `shape` begins with the number of rows; `stored` is the type as the file calls it, `given` the one in which `read`
    returns rows: bfloat16 and floats of 8 bits come as float32. A column of words has the type object, and one of a
    type that says nothing here has none (None).
    """

    shape: tuple[int, ...]
    stored: str
    given: np.dtype[Any] | None
    read: Callable[[Rows], NDArray[Any]]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the rows that `[]` returns: float32, int64, or object for words."""
        return KINDS.get(self.given.kind if self.given is not None else "", WORDS)

    def __len__(self) -> int:
        return self.shape[0] if self.shape else 1

    def __getitem__(self, rows: Rows) -> NDArray[Any]:
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # a float64 that no float32 holds becomes infinite, which is refused as such
            return self.exact(rows).astype(self.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(dtype or self.dtype)

    def exact(self, rows: Rows, /) -> NDArray[Any]:
        """Return rows as they are stored, float64 and every whole number too; half precision comes as float32."""
        found = self.read(rows)
        with np.errstate(invalid="ignore"):  # a NaN that signals stays one
            return found.astype(np.float32) if found.dtype == np.float16 else found

    def taken(self, rows: NDArray[np.integer], /) -> Column:
        """Return the column of these rows, in their order; they are read when they are asked for."""
        if len(rows) == len(self) and np.array_equal(rows, np.arange(len(rows))):
            return self  # whose rows lie side by side
        return Column((len(rows), *self.shape[1:]), self.stored, self.given, lambda asked: self.read(rows[asked]))


def column_of(values: NDArray[Any], /) -> Column:
    """Return the column of an array in memory."""
    kind = values.dtype.kind
    held = values.astype(object) if kind in "UTO" else values
    given = held.dtype if held.dtype.kind in (*KINDS, "O") else None
    return Column(held.shape, str(values.dtype), given, lambda rows: held[rows] if held.ndim else held)


def mapped(
    path: Path,
    about: str,
    shape: tuple[int, ...],
    kind: np.dtype[Any],
    /,
    *,
    offset: int,
    order: Literal["C", "F"] = "C",
    stored: str = "",
    decode: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
) -> Column:
    """Return a column whose rows are read from where they lie in a file, `offset` bytes from its start.

    The file is mapped anew for each reading, so that pages that have been read are not kept. `decode` turns what lies
    there into numbers that numpy knows. Reading raises DamagedFile, about the column, where the file became shorter.
    """

    def read(rows: Rows) -> NDArray[Any]:
        if 0 in shape:
            found = np.empty(shape, kind)[rows]
        else:
            try:
                held = np.memmap(path, kind, "r", offset, shape, order)
            except (ValueError, OSError) as error:
                raise DamagedFile(f"{path}: {about} cannot be read ({error})") from error
            found = np.array(held[rows] if shape else held)
        return found if decode is None else decode(found)

    given = np.dtype(np.float32) if decode is not None else kind
    return Column(shape, stored or str(kind), given if given.kind in KINDS else None, read)


def joined(parts: Sequence[Column], about: str, /) -> Column:
    """Return columns one after the other as one; raise ValueError about it where their widths or types differ."""
    first = parts[0]
    for part in parts[1:]:
        if part.shape[1:] != first.shape[1:] or part.dtype != first.dtype:
            raise ValueError(f"{about}: parts differ: {first.shape} of {first.stored}, {part.shape} of {part.stored}")
    if len(parts) == 1:
        return first
    ends = np.cumsum([len(part) for part in parts])
    kinds = [part.given for part in parts if part.given is not None]
    given = None if len(kinds) < len(parts) else np.result_type(*kinds) if first.dtype.kind == "f" else first.dtype

    def read(rows: Rows) -> NDArray[Any]:
        if isinstance(rows, slice) and rows.step in (None, 1):
            start, stop, _ = rows.indices(int(ends[-1]))
            begins = (ends - [len(part) for part in parts]).tolist()
            wanted = [slice(max(0, start - begin), max(0, stop - begin)) for begin in begins]
            return np.concatenate([part.read(some) for part, some in zip(parts, wanted, strict=True)])
        places = np.arange(ends[-1])[rows]
        found = np.empty((len(places), *first.shape[1:]), given)
        part_of = np.searchsorted(ends, places, side="right")
        for i in np.unique(part_of):
            mine = part_of == i
            found[mine] = parts[i].read(places[mine] - (ends[i - 1] if i else 0))
        return found

    return Column((int(ends[-1]), *first.shape[1:]), first.stored, given, read)
