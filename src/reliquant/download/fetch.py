"""Fetch all files of a dataset into its folder, unpack the archives among them, and record what came."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypedDict

from reliquant.download.contents import contents
from reliquant.download.http import FetchError, download, file_name, offline, sha256_of
from reliquant.download.source import Source
from reliquant.download.unpack import unpack
from reliquant.files.alone import alone
from reliquant.files.artifacts import read_sealed_json, save_sealed_json

Facts = Mapping[str, Any]


class Fetched(TypedDict):
    """Hold what is recorded of a downloaded file: its address, content and licence, and whether it was unpacked."""

    url: str
    sha256: str
    bytes: int
    licence: str
    unpack: bool


def fetch(
    sources: Sequence[Source],
    folder: Path,
    /,
    *,
    check: Callable[[str, Facts], object] | None = None,
    record: Path | None = None,
    about: Facts = MappingProxyType({}),
    **patience: float,
) -> list[Fetched]:
    """Download all sources into a folder, unpack the archives among them and delete these; return what was fetched.

    Before anything is unpacked, `check(url, facts)` may refuse, by raising, a file whose sha256 nobody publishes.
    `patience` are the words of `download`. After a kill the next call goes on where this one was; while another
    process fetches into the folder, it waits. What was fetched is written into the `record`, with facts `about` it
    and digests of what was unpacked; what the other process recorded there meanwhile is not fetched again.
    """
    before = _stamp(record)
    with alone(folder, "downloads into") as waited:
        if waited and record and _stamp(record) not in (None, before) and (found := _recorded(record, sources, check)):
            return found
        paths = _downloaded(sources, folder, patience)
        fetched: list[Fetched] = []
        archives = []
        for source, path in zip(sources, paths, strict=True):
            sha256, size = source.sha256 or sha256_of(path), path.stat().st_size
            if check and source.sha256 is None:
                check(source.url, {"url": source.url, "sha256": sha256, "bytes": size, "file": str(path)})
            facts: Fetched = {
                "url": source.url,
                "sha256": sha256,
                "bytes": size,
                "licence": source.licence,
                "unpack": source.unpack,
            }
            fetched.append(facts)
            if source.unpack:
                archives.append(path)
        names = unpack(archives, folder)
        for archive in archives:
            archive.unlink()
        if record:
            save_sealed_json(record, {**about, "files": fetched, "contents": contents(folder, names)})
        return fetched


def _stamp(record: Path | None) -> tuple[int, int] | None:
    """Return what tells one writing of a file from another; None where it is not there."""
    if record is None or not record.is_file():
        return None
    return record.stat().st_mtime_ns, record.stat().st_ino


def _recorded(record: Path, sources: Sequence[Source], check: Callable[[str, Facts], object] | None) -> list[Fetched]:
    """Return what another process fetched, if it is what these sources name and lies there as recorded, else nothing.

    Of archives that were unpacked there is the record alone.
    """
    found: list[Fetched] = read_sealed_json(record)["files"]
    if [(facts["url"], facts["unpack"]) for facts in found] != [(source.url, source.unpack) for source in sources]:
        return []
    for source, facts in zip(sources, found, strict=True):
        path = record.parent / file_name(source.url)
        there = source.unpack or (path.is_file() and sha256_of(path) == facts["sha256"])
        if not there or source.sha256 not in (None, facts["sha256"]):
            return []
        if check and source.sha256 is None:
            check(source.url, {**facts, "file": str(path)})
    return found


def _downloaded(sources: Sequence[Source], folder: Path, patience: Mapping[str, Any]) -> list[Path]:
    """Download files; offline, raise FetchError that names all files that are not there."""
    if not offline():
        return [download(source, folder, **patience) for source in sources]
    paths, missing = [], []
    for source in sources:
        try:
            paths.append(download(source, folder))
        except FetchError as error:
            missing.append(str(error))
    if missing:
        raise FetchError("\n".join(missing))
    return paths
