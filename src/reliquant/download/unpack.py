"""Unpack archives that are not trusted: only plain files inside the folder, and all of them or none."""

from __future__ import annotations

import errno
import filecmp
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, cast

from reliquant.download.decompressed import decompressed
from reliquant.download.tar_headers import Header, members
from reliquant.files import bounded, scratch
from reliquant.files.artifacts import DamagedFile
from reliquant.files.bounded import TooMuch, told

EXPANSION = 50  # an archive may unpack to at most this many times its size ...
ROOM = 2**20  # ... and this many bytes more
MEMBERS, BYTES_OF_A_MEMBER = 2_000, 64  # so many members, and one more for so many bytes of the archive
LOCAL_HEADER = 30  # bytes before the name of a member of a zip
BLOCK = 2**20  # bytes that are read at once
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, IndexError)
# gzip and bz2 raise OSError, zipfile OSError (EINVAL) and IndexError too, and RuntimeError for what it cannot read


def unpack(archives: Path | Sequence[Path], folder: Path, /, *, limit: int | None = None) -> list[str]:
    """Unpack tars (plain or compressed) or zips into a folder; return the names of what was unpacked there.

    Nothing appears there before all are unpacked. Archives may share folders; top entries of an earlier call are
    replaced. Raises ValueError naming a member that is a link or device, has an absolute path or one with `..`, is in
    another archive with other content, or with which an archive exceeds `limit` bytes (default: 50 times the archive's
    size); DamagedFile when an archive is damaged or of an unsupported kind.
    """
    with scratch.folder(folder, "unpack") as temporary:
        merged = Path(temporary, "all")
        merged.mkdir()
        for number, archive in enumerate([archives] if isinstance(archives, Path) else archives):
            single = Path(temporary, str(number))
            single.mkdir()
            try:
                _extract(archive, single, _most_bytes(archive) if limit is None else limit)
            except DAMAGE as error:
                if getattr(error, "errno", None) not in (None, errno.EINVAL):  # the disk's fault, not the archive's
                    raise
                said = f"{archive}: truncated or damaged, or of an unsupported kind ({error}); delete it to get it anew"
                raise DamagedFile(said) from error
            _merge(single, merged, archive)
        names = sorted(path.name for path in merged.iterdir())
        for name in names:
            path, there = merged / name, folder / name
            if there.is_dir():
                shutil.rmtree(there)
            path.replace(there)
        return names


def _extract(archive: Path, folder: Path, limit: int) -> None:
    """Unpack one archive into an empty folder."""
    room = limit
    for name, data in _members(archive, limit):
        target = Path(folder, *_parts(archive, name))
        if data is None:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        room -= _copy(data, target, room)
        if room < 0:
            raise ValueError(f"{archive}: unpacks to more than {limit} bytes (at {name})")
    if not any(folder.iterdir()):
        raise EOFError("it is empty")


def _merge(path: Path, there: Path, archive: Path) -> None:
    """Move a file or folder; what is there already must be a folder too, or a file with the same content."""
    if not there.exists():
        path.replace(there)
    elif path.is_dir() and there.is_dir():
        for child in sorted(path.iterdir()):
            _merge(child, there / child.name, archive)
    elif not filecmp.cmp(path, there, shallow=False):
        raise ValueError(f"{archive}: {path.name} is in another archive too, with other content")


def _members(archive: Path, limit: int) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Yield the name of each member with its open file, or None for a folder."""
    if zipfile.is_zipfile(archive):
        yield from _of_zip(archive, limit)
        return
    most = _most_members(archive)
    held = limit + 2 * tarfile.BLOCKSIZE * most + ROOM  # with headers, and zeros that fill blocks
    with decompressed(archive, held) as stream, tarfile.open(fileobj=stream, mode="r:", tarinfo=Header) as tar:
        for number, member in enumerate(members(tar), 1):
            if number > most:
                raise TooMuch(f"{archive}: holds more members than its size lets expect: {told(most)}")
            if not (member.isreg() or member.isdir()):
                raise ValueError(f"{archive}: {member.name} is a link or device")
            yield member.name, tar.extractfile(member) if member.isreg() else None
        _finish(tar)


def _of_zip(archive: Path, limit: int) -> Iterator[tuple[str, IO[bytes] | None]]:
    with zipfile.ZipFile(archive) as zipped:
        infos = sorted(zipped.infolist(), key=lambda info: info.header_offset)
        if (number := len(infos)) > (most := _most_members(archive)):
            raise TooMuch(f"{archive}: {number:,} members; {told(most)}")
        if sum(info.file_size for info in infos) > limit:
            largest = max(infos, key=lambda info: info.file_size)
            raise ValueError(f"{archive}: unpacks to more than {limit} bytes (at {largest.filename})")
        ends = [*(info.header_offset for info in infos), zipped.start_dir][1:]
        for info, end in zip(infos, ends, strict=False):  # of an empty zip no end
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others are unpacked all at once
                raise zipfile.BadZipFile(f"{info.filename}: that compression method is not supported")
            if info.header_offset + LOCAL_HEADER + info.compress_size > end:
                raise ValueError(f"{archive}: {info.filename} overlaps with what follows it, as in no real archive")
        for info in infos:
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ValueError(f"{archive}: {info.filename} is a link or device")
            if info.is_dir():
                yield info.filename, None
            else:
                with zipped.open(info) as file:
                    yield info.filename, file


def _most_bytes(archive: Path) -> int:
    return bounded.limit(EXPANSION * archive.stat().st_size + ROOM)


def _most_members(archive: Path) -> int:
    return bounded.limit(MEMBERS) + archive.stat().st_size // BYTES_OF_A_MEMBER


def _finish(tar: tarfile.TarFile) -> None:
    """Raise ReadError unless the archive ends where its members do; read the rest, which ends with checksums."""
    file = cast(IO[bytes], tar.fileobj)
    file.seek(tar.offset)
    end = file.read(2 * tarfile.BLOCKSIZE)
    if len(end) < tarfile.BLOCKSIZE or any(end):
        raise tarfile.ReadError("no end of the archive where its members end")
    while file.read(BLOCK):
        pass


def _parts(archive: Path, name: str) -> tuple[str, ...]:
    """Split the path of a member; raise ValueError if it leads out of the folder."""
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
