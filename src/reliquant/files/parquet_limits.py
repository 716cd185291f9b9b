"""What a parquet file declares, rows and the sizes of its pages, compared with limits before anything is unpacked.

A page of a few bytes can be gigabytes when it is unpacked. Its header says how many, and readers take as much memory;
the file's footer says it, too, but a hostile one may say less. So the headers of all pages that will be read are read
here: structs in Thrift's compact form, of which only whole numbers, lists and structs matter.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from reliquant.files.bounded import TooMuch, require

MAGIC = b"PAR1"
FOOTER = 2**24  # bytes: what describes row groups and columns
ROWS, BYTES_OF_A_ROW = 1_000_000, 8  # so many rows, and one more for so many bytes of the file
COLUMN, EXPANSION = 2**28, 20  # bytes of a column in a row group, or so many times its packed size
VALUES = 8  # of a list in each row, such as captions
PAGE_HEADER = 2**16  # bytes, with the least and the greatest value of the page
NESTED = 16  # structs and lists in one another
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
Struct = dict[int, Any]


def check(path: Path, columns: Iterable[str], /) -> None:
    """Raise ValueError naming a parquet file of which these columns would take too much memory, or that is damaged."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            _check(path, file, size, set(columns))
        except TooMuch:
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: damaged: what describes it cannot be read ({type(error).__name__})") from error


def check_footer(path: Path, /) -> None:
    """Raise ValueError naming a file whose footer is longer than is read; one that is no parquet file passes."""
    with open(path, "rb") as file:
        _footer(path, file, os.fstat(file.fileno()).st_size)


def _footer(path: Path, file: IO[bytes], size: int) -> bytes:
    file.seek(max(0, size - 8))
    end = file.read(8)
    if size < 12 or end[4:] != MAGIC:
        return b""
    length = int.from_bytes(end[:4], "little")
    require(path, "bytes of footer", length, FOOTER)
    file.seek(max(0, size - 8 - length))
    return file.read(length)


def _check(path: Path, file: IO[bytes], size: int, columns: set[str]) -> None:
    footer = _Thrift(_footer(path, file, size)).struct()
    rows = sum(group[3] for group in footer.get(4, []))
    most = ROWS + size // BYTES_OF_A_ROW
    require(path, "rows", max(rows, footer[3], *(group[3] for group in footer.get(4, [])), 0), most)
    for group in footer.get(4, []):
        for chunk in group[1]:
            facts = chunk[3]
            if facts[3][0].decode() in columns:
                _check_pages(path, file, facts, size, most if len(facts[3]) == 1 else VALUES * most)


def _check_pages(path: Path, file: IO[bytes], facts: Struct, size: int, most: int) -> None:
    """Add up what the pages of a column in a row group unpack to."""
    name = facts[3][0].decode()
    packed = min(facts[7], size)
    room = max(COLUMN, EXPANSION * packed)
    require(path, f"values of column {name!r}", facts[5], most)
    require(path, f"bytes of column {name!r} in a row group", facts[6], room)
    at = min(offset for offset in (facts[9], facts.get(11)) if offset)
    end, unpacked, values = at + packed, 0, 0
    while at < end and values != facts[5]:  # as polars goes on
        if at < len(MAGIC):
            raise ValueError("a page before the start")
        file.seek(at)
        reader = _Thrift(file.read(PAGE_HEADER))
        header = reader.struct()
        unpacked += header[2]
        data = header.get(5) or header.get(8) or {1: 0}
        values += data[1]
        if header[2] < 0 or header[3] < 0 or data[1] < 0:
            raise ValueError("a page of a negative size")
        require(path, f"values of column {name!r}", values, most)
        require(path, f"bytes of column {name!r} in a row group", unpacked, room)
        at += reader.at + header[3]


class _Thrift:
    """Read structs of Thrift's compact form from bytes: field number -> value; texts stay bytes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def struct(self, depth: int = 0) -> Struct:
        if depth > NESTED:
            raise KeyError("nested too deeply")
        found: Struct = {}
        number = 0
        while byte := self._byte():
            number = number + (byte >> 4) if byte >> 4 else self._signed()
            found[number] = self._value(byte & 15, depth)
        return found

    def _byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def _unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise OverflowError

    def _signed(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (TRUE, FALSE):
            return kind == TRUE
        if kind == BYTE:
            return self._byte()
        if kind in (I16, I32, I64):
            return self._signed()
        if kind == DOUBLE:
            self.at += 8
            return None
        if kind == BINARY:
            return self._take(self._unsigned())
        if kind in (LIST, SET):
            return list(self._items(depth))
        if kind == STRUCT:
            return self.struct(depth + 1)
        raise KeyError(kind)

    def _take(self, size: int) -> bytes:
        start, self.at = self.at, self.at + size
        if self.at > len(self.data):
            raise IndexError
        return self.data[start : self.at]

    def _items(self, depth: int) -> Iterator[Any]:
        byte = self._byte()
        size = byte >> 4 if byte >> 4 < 15 else self._unsigned()
        if size > len(self.data) - self.at:  # an item takes a byte at least
            raise IndexError
        for _ in range(size):
            yield self._byte() == TRUE if byte & 15 in (TRUE, FALSE) else self._value(byte & 15, depth + 1)
