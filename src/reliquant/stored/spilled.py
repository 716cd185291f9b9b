"""Columns that lie packed in their file: unpacked once, when they are first asked for, to memory or scratch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from reliquant.files.digests import DamagedFile
from reliquant.stored.column import Column, Rows

IN_MEMORY = 2**28  # bytes of a column; larger ones go to a nameless file where TMPDIR says, gone with the process


def spilled(
    about: str,
    shape: tuple[int, ...],
    kind: np.dtype[Any],
    stored: str,
    blocks: Callable[[], Iterator[NDArray[Any]]],
    /,
) -> Column:
    """Return a column whose rows `blocks` gives in their order, a block (m, ...) after the other.

    Reading raises DamagedFile `about` the column where there are more or fewer rows than in its shape.
    """

    @cache
    def unpacked() -> NDArray[Any] | _Scratch:
        if int(np.prod(shape)) * kind.itemsize > IN_MEMORY:
            return _written(about, shape[0], kind, blocks())
        parts = [np.asarray(block, kind) for block in blocks()]
        found = np.concatenate(parts) if parts else np.empty(shape, kind)
        if found.shape != shape:
            raise DamagedFile(f"{about}: has the shape {found.shape}, and {shape} was declared")
        return found

    def read(rows: Rows) -> NDArray[Any]:
        found = unpacked()
        if isinstance(found, np.ndarray):
            return found[rows]
        return np.array(
            np.memmap(found.file, kind, "r", 0, shape)[rows]
        )  # mapped anew: pages that were read are not kept

    return Column(shape, stored, kind, read)


class _Scratch:
    """Hold a nameless file for as long as a column needs it."""

    def __init__(self) -> None:
        self.file: IO[bytes] = TemporaryFile()  # noqa: SIM115, closed below

    def __del__(self) -> None:
        self.file.close()


def _written(about: str, rows: int, kind: np.dtype[Any], blocks: Iterator[NDArray[Any]]) -> _Scratch:
    scratch, count = _Scratch(), 0
    for block in blocks:
        scratch.file.write(np.ascontiguousarray(block, kind).data)
        count += len(block)
    if count != rows:
        raise DamagedFile(f"{about}: has {count:,} rows, and {rows:,} were declared")
    scratch.file.flush()
    return scratch
