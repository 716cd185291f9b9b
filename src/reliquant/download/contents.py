"""Digests of what was unpacked, folder by folder, so that nothing is read of a download that changed since."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from reliquant.files.artifacts import read_sealed_json
from reliquant.files.digests import DamagedFile, digest_of, digest_of_file

THREADS = 8  # that read files: more would wait for the disk


def contents(folder: Path, names: Iterable[str], /) -> dict[str, str]:
    """Return the digests of files and folders of these names in `folder`, and of all folders below, by their paths.

    That of a folder is of the names and contents of its files, and of the names of its folders, but hidden ones.
    """
    found = {}
    for name in names:
        found[name] = _digest(folder / name)
        for place, folders, _ in os.walk(folder / name):
            folders[:] = sorted(inner for inner in folders if not inner.startswith("."))
            for inner in folders:
                path = Path(place, inner)
                found[path.relative_to(folder).as_posix()] = _digest(path)
    return found


def require_contents(record: Path, /) -> None:
    """Raise DamagedFile naming a folder that is not as it was unpacked; a record of earlier versions tells of none."""
    for name, digest in read_sealed_json(record).get("contents", {}).items():
        path = record.parent / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise DamagedFile(f"{record}: {name!r:.80} lies outside of its folder; delete it, and it is fetched again")
        if _digest(path) != digest:
            told = "changed, or files in it came or went, since it was unpacked" if path.exists() else "is gone"
            raise DamagedFile(f"{path}: {told}; delete {record}, and it is fetched again")


def _digest(path: Path) -> str:
    """Return the digest of a file, or of a folder without the content of those in it; "" where nothing lies."""
    if not path.is_dir():
        return digest_of_file(path) if path.is_file() else ""
    files, folders = [], []
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir() and not entry.name.startswith("."):
                folders.append(entry.name)
            elif entry.is_file() and not entry.name.startswith("."):  # a pipe would never end
                files.append(entry.name)
    with ThreadPoolExecutor(THREADS) as pool:
        digests = pool.map(lambda name: digest_of_file(path / name), files)
        return digest_of({"files": dict(zip(files, digests, strict=True)), "folders": sorted(folders)})
