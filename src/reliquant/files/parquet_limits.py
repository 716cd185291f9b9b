"""What a parquet file declares, rows and the sizes of its pages, compared with limits before anything is unpacked.

A page of a few bytes can be gigabytes when it is unpacked. Its header says how many, and readers take as much memory;
the file's footer says it, too, but a hostile one may say less. So the headers of all pages that will be read are read
here: structs in Thrift's compact form, of which only whole numbers, lists and structs matter.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from reliquant.files.bounded import TooMuch, require
from reliquant.files.digests import DamagedFile

MAGIC = b"PAR1"
FOOTER = 2**24  # bytes: what describes row groups and columns
ROWS, BYTES_OF_A_ROW = 1_000_000, 8  # so many rows, and one more for so many bytes of the file
COLUMN, EXPANSION = 2**28, 20  # bytes of a column in a row group, or so many times its packed size
VALUES = 8  # of a list in each row, such as captions
RESULT, TIMES = 2**28, 60  # bytes of rows or records in memory, or so many times those of their file
WIDTHS = {0: 1, 1: 4, 2: 8, 3: 12, 4: 4, 5: 8, 6: 16}  # bytes of a value in memory, by the number of its type
PAGE_HEADER, SHORT = 2**16, 2**8  # bytes, with the least and the greatest value of the page
NESTED = 16  # structs and lists in one another
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
WHOLE = (I16, I32, I64)  # whole numbers, which nearly all fields are
Struct = dict[int, Any]


def check(path: Path, columns: Iterable[str], /) -> None:
    """Raise ValueError naming a parquet file of which these columns would take too much memory, or that is damaged."""
    with _opened(path) as (file, size):
        _check(path, file, size, set(columns))


def check_whole(path: Path, /) -> int:
    """Return how many rows a parquet file of this project declares; one that is no parquet file has none.

    Raises ValueError naming a file of which all columns together would take more memory than rows and records do, or
    that is damaged.
    """
    with _opened(path) as (file, size):
        if not (footer := _footer(path, file, size)):
            return 0
        facts = _Thrift(footer).struct()
        rows = _rows(path, facts, size)
        lengths = {element[4]: element.get(2, 0) for element in facts[2]}
        taken = 0
        for chunk in (chunk[3] for group in facts.get(4, []) for chunk in group[1]):
            width = WIDTHS.get(chunk[1], lengths.get(chunk[3][-1], 0))
            unpacked = values = 0
            most = max(chunk[5] * width, chunk[6], 0)
            for bytes_of_page, values_of_page in _pages(file, chunk, size):
                unpacked += bytes_of_page
                values += values_of_page
                most = max(most, unpacked, values * width)
            taken += most
            require_memory(path, taken, size)
        return rows


def require_memory(path: Path, taken: int, size: int, /) -> None:
    """Raise TooMuch for rows or records that would take so many bytes of memory, more than a file of this size has."""
    require(path, "bytes of rows in memory", taken, max(RESULT, TIMES * size))


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], int]]:
    """Open a file, and say its size; name it where what describes it cannot be read."""
    with open(path, "rb") as file:
        try:
            yield file, os.fstat(file.fileno()).st_size
        except TooMuch:
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            told = f"damaged: what describes it cannot be read ({type(error).__name__})"
            raise DamagedFile(f"{path}: {told}; fetch it again, or make it again") from error


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
    _rows(path, footer, size)
    most = ROWS + size // BYTES_OF_A_ROW
    for group in footer.get(4, []):
        for chunk in group[1]:
            facts = chunk[3]
            if facts[3][0].decode() in columns:
                _check_pages(path, file, facts, size, most if len(facts[3]) == 1 else VALUES * most)


def _rows(path: Path, footer: Struct, size: int) -> int:
    """Return how many rows a footer declares, at most; raise TooMuch for more than a file of this size has."""
    groups = [group[3] for group in footer.get(4, [])]
    rows: int = max(sum(groups), footer[3], *groups, 0)
    require(path, "rows", rows, ROWS + size // BYTES_OF_A_ROW)
    return rows


def _check_pages(path: Path, file: IO[bytes], facts: Struct, size: int, most: int) -> None:
    """Add up what the pages of a column in a row group unpack to."""
    name = facts[3][0].decode()
    packed = min(facts[7], size)
    room = max(COLUMN, EXPANSION * packed)
    require(path, f"values of column {name!r}", facts[5], most)
    require(path, f"bytes of column {name!r} in a row group", facts[6], room)
    values = unpacked = 0
    for bytes_of_page, values_of_page in _pages(file, facts, size):
        values, unpacked = values + values_of_page, unpacked + bytes_of_page
        require(path, f"values of column {name!r}", values, most)
        require(path, f"bytes of column {name!r} in a row group", unpacked, room)


def _pages(file: IO[bytes], facts: Struct, size: int) -> Iterator[tuple[int, int]]:
    """Yield the unpacked bytes and the values that the header of each page of a column in a row group declares."""
    at = min(offset for offset in (facts[9], facts.get(11)) if offset)
    end, values = at + min(facts[7], size), 0
    while at < end and values != facts[5]:  # as polars goes on
        if at < len(MAGIC):
            raise ValueError("a page before the start")
        header, length = _header(file, at)
        data = header.get(5) or header.get(8) or {1: 0}
        if header[2] < 0 or header[3] < 0 or data[1] < 0:
            raise ValueError("a page of a negative size")
        values += data[1]
        yield header[2], data[1]
        at += length + header[3]


def _header(file: IO[bytes], at: int) -> tuple[Struct, int]:
    """Return the header of the page at a place of a file, and its length; hardly any is longer than `SHORT`."""
    for most in (SHORT, PAGE_HEADER):
        file.seek(at)
        reader = _Thrift(file.read(most))
        try:
            return reader.struct(), reader.at
        except IndexError:
            if most == PAGE_HEADER:
                raise
    raise AssertionError


class _Thrift:
    """Read structs of Thrift's compact form from bytes: field number -> value; texts stay bytes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def struct(self, depth: int = 0) -> Struct:
        if depth > NESTED:
            raise KeyError("nested too deeply")
        found: Struct = {}
        data, number = self.data, 0
        while byte := data[self.at]:
            self.at += 1
            number = number + (byte >> 4) if byte >> 4 else self._signed()
            if byte & 15 in WHOLE and (value := data[self.at]) < 128:  # most fields are whole numbers of one byte
                self.at += 1
                found[number] = (value >> 1) ^ -(value & 1)
            else:
                found[number] = self._value(byte & 15, depth)
        self.at += 1
        return found

    def _byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def _unsigned(self) -> int:
        data, value, shift = self.data, 0, 0
        while True:
            byte = data[self.at]
            self.at += 1
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
        if kind in WHOLE:
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
