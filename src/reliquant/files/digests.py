"""Digests inside files, so that nothing is read that was changed since it was written.

Arrays (`.npy`) have one digest for each block of 4 MiB behind their data, where other programs do not look: whoever
reads a part of a large array checks that part alone. Parquet files and JSON objects have one digest of all the rest.
All are XXH3 of 128 bits (Collet, github.com/Cyan4973/xxHash), which finds accidents, not forgers: it is no signature.
"""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_128

BLOCK = 4 * 2**20  # bytes that a digest is of
HEX = 32  # letters of a digest
FACTS, LINE = 2**20, 64  # bytes: of facts about a sealed file, and of each digest with its marks
END = b"reliquant digests 1\n"  # the last bytes of a sealed array, after the length of what stands before
LENGTH = struct.Struct("<Q")
KEY = "reliquant_digest"  # in the metadata of parquet files
IN_FOOTER = re.compile(KEY.encode() + rb"\x18\x20([0-9a-f]{32})")  # a text of 32 letters, in Thrift's compact form
NO_DIGEST = "0" * HEX
OF_JSON = "digest"  # the key of a JSON object
AGAIN = "delete it, and make it again"


class DamagedFile(ValueError):
    """A file is truncated, altered or of another kind; the message names it."""


def seal(path: Path, about: Mapping[str, Any] | None = None, /) -> str:
    """Append the digests of a file's blocks to it, and facts `about` it; return its identity (`Seal.identity`).

    The file is an array as numpy writes it.
    """
    size, digests = path.stat().st_size, []
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digests.append(xxh3_128(block).hexdigest())
    facts = {"block": BLOCK, "bytes": size, "xxh3_128": digests, "about": dict(about or {})}
    identity = digest_of(facts)
    text = json.dumps({**facts, OF_JSON: identity}).encode()
    with open(path, "ab") as file:
        file.write(text + LENGTH.pack(len(text)) + END)
    return identity


class Seal:
    """Know the digests of a sealed file's blocks, and which blocks have been found to be as they were written."""

    def __init__(self, path: Path, /) -> None:
        """Read the digests; raise DamagedFile where there are none, or where they are not those that were written."""
        self.path, tail = path, len(END) + LENGTH.size
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - tail))
            last = file.read()
            if len(last) < tail or not last.endswith(END):
                raise DamagedFile(f"{path}: truncated, or of an earlier version: it has no digests; {AGAIN}")
            (length,) = LENGTH.unpack(last[: LENGTH.size])
            self.bytes = size - tail - length
            file.seek(max(0, self.bytes))
            text = file.read(length) if self.bytes >= 0 and length <= FACTS + LINE * -(-size // BLOCK) else b""
        facts = self._parsed(text)
        self.identity = digest_of(facts)  # of all blocks, and what the file is about: another file has another one
        self.about: dict[str, Any] = facts["about"]
        self._digests: list[str] = facts["xxh3_128"]
        self._unseen = np.ones(len(self._digests), bool)
        self._lock = Lock()

    def require(self, start: int = 0, stop: int | None = None, /) -> None:
        """Raise DamagedFile unless the bytes from `start` to `stop` are those written; each block is read once."""
        numbers = np.arange(start // BLOCK, -(-(self.bytes if stop is None else stop) // BLOCK))
        with self._lock:
            numbers = numbers[self._unseen[numbers]]
            if not len(numbers):
                return
            with open(self.path, "rb") as file:
                for number in numbers.tolist():
                    file.seek(number * BLOCK)
                    block = file.read(min(BLOCK, self.bytes - number * BLOCK))
                    if xxh3_128(block).hexdigest() != self._digests[number]:
                        raise DamagedFile(
                            f"{self.path}: changed since it was written, after byte {number * BLOCK}; {AGAIN}"
                        )
            self._unseen[numbers] = False

    def _parsed(self, text: bytes) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        try:
            facts = json.loads(text)
            known = facts.pop(OF_JSON) == digest_of(facts)
            known = known and (facts["block"], facts["bytes"]) == (BLOCK, self.bytes)
            known = known and isinstance(facts["about"], dict) and isinstance(facts["xxh3_128"], list)
            known = known and len(facts["xxh3_128"]) == -(-self.bytes // BLOCK)
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
            known = False
        if not known:
            raise DamagedFile(f"{self.path}: truncated, or its digests are damaged; {AGAIN}")
        return facts


class SealedArray:
    """An array of a sealed npy file, mapped: what is taken out of it has been checked.

    It is taken by a slice or by numbers along the first axis, or whole (`numpy.asarray`).
    """

    def __init__(self, mapped: np.memmap, seal: Seal, /, start: int | None = None) -> None:
        """Check the header of the file; `mapped` is its array, or a part of it that begins at the byte `start`."""
        self._mapped, self.seal = mapped, seal
        self._start = mapped.offset if start is None else start
        self.shape, self.dtype, self.ndim = mapped.shape, mapped.dtype, mapped.ndim
        self.nbytes, self.size = mapped.nbytes, mapped.size
        seal.require(0, mapped.offset)

    def __len__(self) -> int:
        """Return the length of the first axis."""
        return len(self._mapped)

    def __getitem__(self, index: Any, /) -> NDArray[Any]:
        """Check the blocks of the items asked for, and return them; raise DamagedFile."""
        first = index[0] if isinstance(index, tuple) and index else index
        length = self._mapped.strides[0] if self._mapped.ndim else 0
        for start, stop in _runs(first, len(self._mapped)):
            self.seal.require(self._start + start * length, self._start + stop * length)
        return self._mapped[index]

    def item(self, number: int, /) -> SealedArray:
        """Return an item along the first axis as an array of its own, each part of which is checked when taken."""
        return SealedArray(self._mapped[number], self.seal, self._start + number * self._mapped.strides[0])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Check all of it, and return it; raise DamagedFile."""
        self.seal.require(self._start, self._start + self._mapped.nbytes)
        return np.asarray(self._mapped, dtype=dtype)


def _runs(index: Any, n: int) -> list[tuple[int, int]]:
    """Return from where to where the items lie that an index along an axis of n takes, as few runs as are worth it."""
    if isinstance(index, slice):
        chosen = np.arange(n)[index] if index.step not in (None, 1) else None
        if chosen is None:
            start, stop, _ = index.indices(n)
            return [(start, stop)] if stop > start else []
    elif isinstance(index, int | np.integer):
        chosen = np.array([range(n)[index]])
    elif index is Ellipsis or index is None:
        return [(0, n)]
    else:
        chosen = np.asarray(index)
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else np.where(chosen < 0, chosen + n, chosen)
    chosen = np.unique(chosen)
    chosen = chosen[(chosen >= 0) & (chosen < n)]  # numpy refuses the others itself
    return [
        (int(run[0]), int(run[-1]) + 1) for run in np.split(chosen, np.flatnonzero(np.diff(chosen) > 1) + 1) if len(run)
    ]


def digest_of(value: Mapping[str, Any], /) -> str:
    """Return the digest of a JSON object."""
    return xxh3_128(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def with_digest(value: Mapping[str, Any], /) -> dict[str, Any]:
    """Return a JSON object, as JSON reads it back, with its digest."""
    plain = json.loads(json.dumps(value))  # lists in place of tuples, texts in place of numbers that are keys
    return {**plain, OF_JSON: digest_of(plain)}


def require_same(value: dict[str, Any], about: str, /, *, needed: bool = True) -> dict[str, Any]:
    """Return a JSON object without its digest; raise DamagedFile, `about` which file, if that is not of the rest.

    An object without a digest is one too, unless none is `needed`: of an earlier version, or made by hand.
    """
    rest = {name: value[name] for name in value if name != OF_JSON}
    if OF_JSON not in value:
        if not needed:
            return rest
        raise DamagedFile(f"{about} has no digest: of an earlier version, or of another program; {AGAIN}")
    if value[OF_JSON] != digest_of(rest):
        raise DamagedFile(f"{about} changed since it was written; {AGAIN}")
    return rest


def seal_parquet(path: Path, /) -> None:
    """Put the digest of a parquet file into its metadata, where `KEY` stands for `NO_DIGEST`."""
    place = _place(path)
    if place is None:
        raise RuntimeError(f"{path}: no place for a digest in the metadata")
    found = _digest_without(path, place)
    with open(path, "r+b") as file:
        file.seek(place)
        file.write(found.encode())


def require_parquet(path: Path, /) -> bool:
    """Raise DamagedFile unless a parquet file is as it was written; return False for one that has no digest."""
    place = _place(path)
    if place is None:
        return False
    if _digest_at(path, place) != _digest_without(path, place):
        raise DamagedFile(f"{path}: changed since it was written; {AGAIN}")
    return True


def digest_of_file(path: Path, /) -> str:
    """Return the digest of all bytes of a file."""
    digest = xxh3_128()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def digest_in_parquet(path: Path, /) -> str | None:
    """Return the digest that stands in a parquet file, None where it has none."""
    place = _place(path)
    return None if place is None else _digest_at(path, place)


def _digest_at(path: Path, place: int) -> str:
    with open(path, "rb") as file:
        file.seek(place)
        return file.read(HEX).decode()


def _place(path: Path) -> int | None:
    """Return where the digest stands in a parquet file; None where it has none."""
    if not path.is_file():  # a pipe would never end
        raise FileNotFoundError(f"{path}: no such file")
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size < 12:
            return None
        file.seek(size - 8)
        length = int.from_bytes(file.read(4), "little")
        start = max(0, size - 8 - length)
        file.seek(start)
        found = IN_FOOTER.search(file.read())
    return None if found is None else start + found.start(1)


def _digest_without(path: Path, place: int) -> str:
    """Return the digest of a file of which the letters from a place on count as `NO_DIGEST`."""
    digest = xxh3_128()
    with open(path, "rb") as file:
        at = 0
        while block := file.read(BLOCK):
            low, high = place - at, place + HEX - at
            if low < len(block) and high > 0:
                changed = bytearray(block)
                inside = slice(max(low, 0), min(high, len(block)))
                changed[inside] = NO_DIGEST[: inside.stop - inside.start].encode()
                block = bytes(changed)
            digest.update(block)
            at += len(block)
    return digest.hexdigest()
