"""Unpack archives from strangers: plain files inside the folder only, all of them or none."""

from __future__ import annotations

import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from reliquant.records import DamagedFile

EXPANSION = 50  # an archive may unpack to this many times its size, and
ROOM = 2**20  # this many bytes more
BLOCK = 2**20


def unpack(archive: Path, folder: Path, /, *, limit: int | None = None) -> None:
    """Unpack a tar (plain or compressed) or zip into a folder; its top entries appear there when all is unpacked.

    Raises ValueError naming a member that is a link or device, has an absolute path or one with `..`, or exceeds
    `limit` bytes in all (default: 50 times the archive); DamagedFile when the archive is truncated or of another kind.
    """
    limit = EXPANSION * archive.stat().st_size + ROOM if limit is None else limit
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpack-") as temporary:
        room = limit
        try:
            for name, data in _members(archive):
                target = Path(temporary, *_parts(archive, name))
                if data is None:
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                room -= _copy(data, target, room)
                if room < 0:
                    raise ValueError(f"{archive}: unpacks to more than {limit} bytes (at {name})")
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error) as error:
            raise DamagedFile(f"{archive}: truncated or damaged ({error})") from error
        for path in sorted(Path(temporary).iterdir()):
            there = folder / path.name
            if there.is_dir():
                shutil.rmtree(there)
            path.replace(there)


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Yield names and open files, None for folders."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            for info in zipped.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise ValueError(f"{archive}: {info.filename} is a link or device")
                if info.is_dir():
                    yield info.filename, None
                else:
                    with zipped.open(info) as file:
                        yield info.filename, file
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            if not (member.isreg() or member.isdir()):
                raise ValueError(f"{archive}: {member.name} is a link or device")
            yield member.name, tar.extractfile(member) if member.isreg() else None


def _parts(archive: Path, name: str) -> tuple[str, ...]:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise ValueError(f"{archive}: {name!r} points outside the folder")
    return path.parts


def _copy(data: IO[bytes], target: Path, room: int) -> int:
    """Copy a member and return its size; stop once it exceeds the room that is left."""
    size = 0
    with open(target, "wb") as file:
        while size <= room and (block := data.read(BLOCK)):
            size += file.write(block)
    return size
