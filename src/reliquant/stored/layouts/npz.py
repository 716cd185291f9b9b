"""Archives of NumPy (.npz): memory-mapped where they are not compressed, else unpacked; never unpickled."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reliquant.files.bounded import require
from reliquant.files.digests import DamagedFile
from reliquant.stored.column import Column, column_of
from reliquant.stored.layouts.npy import Order, header_of, placed
from reliquant.stored.spilled import spilled

PYTORCH = (
    "was written by torch.save, whose files can run programs, and is not read; load it in PyTorch, and write its"
    " tensors by safetensors.torch.save_file or numpy.savez"
)
MEMBERS = 10_000
UNPACKED, TIMES = 2**28, 60  # bytes of all members, or so many times those of the archive
LOCAL = 30  # bytes before the name of a member, where the archive says it again
BLOCK = 2**24  # bytes that are unpacked at a time
ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)


def columns(path: Path, /) -> dict[str, Column]:
    """Return the arrays of an archive by their names; raise DamagedFile where it is none, TooMuch for a bomb."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            require(path, "members", len(members), MEMBERS)
            unpacked = sum(member.file_size for member in members)
            require(path, "bytes unpacked", unpacked, max(UNPACKED, TIMES * path.stat().st_size))
            if any(re.fullmatch("(.*/)?data.pkl", member.filename) for member in members):
                raise DamagedFile(f"{path}: {PYTORCH}")
            arrays = [member for member in members if member.filename.endswith(".npy")]
            return {member.filename.removesuffix(".npy"): _column(path, archive, member) for member in arrays}
    except DamagedFile:
        raise
    except ERRORS as error:
        if str(path) in str(error):
            raise
        raise DamagedFile(f"{path}: truncated or no archive of NumPy ({error})") from error


def _column(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Column:
    name = member.filename.removesuffix(".npy")
    with archive.open(member) as file:
        shape, order, kind = header_of(file, f"{path}: {name}")
        header = file.tell()
    count = int(np.prod([float(length) for length in shape]))
    if not kind.hasobject and count * kind.itemsize > member.file_size - header:
        raise DamagedFile(f"{path}: {name} declares the shape {shape}, more than it holds")
    if member.compress_type == zipfile.ZIP_STORED:
        with open(path, "rb") as file:
            file.seek(member.header_offset)
            local = file.read(LOCAL)
        start = member.header_offset + LOCAL + sum(int.from_bytes(local[at : at + 2], "little") for at in (26, 28))
        return placed(path, name, shape, order, kind, start + header, path.stat().st_size)
    if kind.hasobject or kind.kind not in "fiubUS":
        return placed(path, name, shape, order, kind, 0, 0)
    if kind.kind in "US" or order == "F" or not shape or not count:
        return column_of(_whole(path, name, member, shape, order, kind))
    return spilled(f"{path}: {name}", shape, kind, str(kind), lambda: _blocks(path, name, member, shape, kind, header))


def _whole(
    path: Path, name: str, member: zipfile.ZipInfo, shape: tuple[int, ...], order: Order, kind: np.dtype[Any]
) -> NDArray[Any]:
    """Return an array that is unpacked at once, such as words, or one that is stored column by column."""
    with zipfile.ZipFile(path) as archive, archive.open(member) as file:
        header_of(file, f"{path}: {name}")
        values = np.frombuffer(file.read(), np.dtype(kind))
    found = values[: int(np.prod(shape))].reshape(shape, order=order)
    return np.char.decode(found, "utf-8") if kind.kind == "S" else found


def _blocks(
    path: Path, name: str, member: zipfile.ZipInfo, shape: tuple[int, ...], kind: np.dtype[Any], header: int
) -> Iterator[NDArray[Any]]:
    row = kind.itemsize * int(np.prod(shape[1:]))
    step = max(1, BLOCK // row)
    try:
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            file.read(header)
            for start in range(0, shape[0], step):
                rows = min(step, shape[0] - start)
                yield np.frombuffer(file.read(rows * row), kind).reshape(rows, *shape[1:])
    except ERRORS as error:
        raise DamagedFile(f"{path}: {name} cannot be unpacked ({error})") from error
