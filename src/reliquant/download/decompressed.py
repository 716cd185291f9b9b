"""Read a compressed file from its start, and never more of it than a limit, whatever it is asked for."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from reliquant.files.bounded import TooMuch, limit, told

BLOCK = 2**16  # bytes that are read at once
KEPT = 2 * 512  # bytes back that can be read again: the mark of a tar's end
XZ_MEMORY = 2**28  # bytes that unpacking an xz file may take; `xz -9` asks for 65 MiB


class Xz(io.RawIOBase):
    """Decompress xz, or the older lzma, within a limit of memory: `lzma.open` has none."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._start()

    def _start(self) -> None:
        self._decompressor = lzma.LZMADecompressor(memlimit=limit(XZ_MEMORY))

    def readable(self) -> bool:  # noqa: D102
        return True

    def readinto(self, into: Any, /) -> int:
        """Fill a buffer with what comes next; return how many bytes that are, 0 at the end."""
        view = memoryview(into).cast("B")
        while True:
            if self._decompressor.eof:
                rest = (self._decompressor.unused_data or self._file.read(BLOCK)).lstrip(b"\0")
                while not rest and (more := self._file.read(BLOCK)):
                    rest = more.lstrip(b"\0")
                if not rest:
                    return 0
                self._start()  # another stream follows
                data = self._decompressor.decompress(rest, len(view))
            else:
                block = self._file.read(BLOCK) if self._decompressor.needs_input else b""
                if not block and self._decompressor.needs_input:
                    raise EOFError("the compressed file ends before its mark of the end")
                data = self._decompressor.decompress(block, len(view))
            if data:
                view[: len(data)] = data
                return len(data)


@contextmanager
def decompressed(path: Path, most: int, /) -> Iterator[IO[bytes]]:
    """Open a file, decompressed where it is gzip, bzip2 or xz, of which at most so many bytes can be read."""
    with open(path, "rb") as file:
        head = file.read(6)
        file.seek(0)
        stream: Any = file
        if head.startswith(b"\x1f\x8b"):
            stream = gzip.GzipFile(fileobj=file)
        elif head.startswith(b"BZh"):
            stream = bz2.BZ2File(file)
        elif head.startswith((b"\xfd7zXZ", b"\x5d\0\0")):
            stream = Xz(file)
        yield cast(IO[bytes], Within(stream, most, str(path)))


class Within(io.RawIOBase):
    """Read a stream forwards, a few bytes back, and at most `most` bytes of it: TooMuch names the file at the next."""

    def __init__(self, stream: IO[bytes], most: int, name: str) -> None:
        self._stream, self._most, self.name = stream, most, name
        self._at, self._passed, self._kept = 0, 0, b""  # where we are, how far the stream is, its last bytes

    def readable(self) -> bool:  # noqa: D102
        return True

    def seekable(self) -> bool:  # noqa: D102
        return True

    def tell(self) -> int:  # noqa: D102
        return self._at

    def seek(self, target: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place from the start; what lies before it is decompressed and dropped."""
        if whence != io.SEEK_SET:
            raise io.UnsupportedOperation("only places from the start are known")
        if target < self._passed - len(self._kept):
            raise io.UnsupportedOperation(f"only the last {KEPT} bytes are kept")
        while self._passed < target and self._more(min(BLOCK, target - self._passed)):
            pass
        self._at = min(target, self._passed)
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        """Read so many bytes, or up to the end."""
        back = self._passed - self._at
        data = bytearray(self._kept[len(self._kept) - back :] if back else b"")
        while (size < 0 or len(data) < size) and (block := self._more(BLOCK if size < 0 else size - len(data))):
            data += block
        found = bytes(data if size < 0 else data[:size])
        self._at += len(found)
        return found

    def _more(self, size: int) -> bytes:
        data = self._stream.read(min(size, BLOCK))
        self._passed += len(data)
        self._kept = (self._kept + data)[-KEPT:]
        if self._passed > self._most:
            raise TooMuch(f"{self.name}: unpacks to more bytes than its size lets expect: {told(self._most)}")
        return data
