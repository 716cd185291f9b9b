"""Which files people have put in place for a dataset or a model, and a digest of their content that is cheap to keep.

The digest is a parameter of the rule that reads the files: one that changed, is new or is gone runs the rule again. A
file's content is read once, and again only where its size, times or number (inode) are others than they were: what is
merely touched, or a copy with the same content, gives the same digest.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from xxhash import xxh3_128

from reliquant.files.artifacts import DamagedFile, read_sealed_json, require_words, save_sealed_json, whole
from reliquant.files.digests import digest_of_file
from reliquant.progress import progress
from reliquant.study import paths
from reliquant.study.placed_files import named_by_words, of_dataset

KNOWN = ".snakemake/placed"  # the folder of what is known of files, below that of the study; it may be deleted
BLOCK = 4 * 2**20  # bytes
JUST_NOW = 2 * 10**9  # nanoseconds: what changed so lately may change again without another time
THREADS = 4
Stamp = tuple[int, ...]  # size, time of content, time of change, number, device


def dataset_digest(entry: Mapping[str, Any], root: str, /) -> str:
    """Return the digest of the files below `root` that a dataset's entry reads; "" where it reads none, or none is."""
    return _digest(of_dataset("dataset", entry, Path(root)), _known(root, entry))


def lexicon_digest(entry: Mapping[str, Any], root: str, /) -> str:
    """Return the digest of the files of a lexicon's entry: those below its root, and those that a word names."""
    if not entry:
        return ""
    named = named_by_words(entry, "lexicon")
    return _digest([*of_dataset("lexicon", entry, Path(root)), *named], _known(root, entry))


def model_digest(entry: Mapping[str, Any], /) -> str:
    """Return the digest of the files and folders that the words of a tower's entry name; "" where there is none."""
    return _digest(named_by_words(entry, "tower"), _known("", entry))


def digest_or_recorded(digest: str, record: str, /) -> str:
    """Return a digest, or the recorded one where nothing is in place: what was made of it stands without it."""
    if digest:
        return digest
    with suppress(OSError, DamagedFile, KeyError):
        return str(read_sealed_json(Path(record))["placed"])
    return ""


def record(path: str, digest: str, /) -> None:
    """Write down of which placed files something was made; without a digest, of none."""
    if digest:
        save_sealed_json(Path(path), {"placed": digest})
    else:
        Path(path).unlink(missing_ok=True)


def require(digest: str, now: str, where: str, /) -> None:
    """Raise ValueError where files are no longer those that the workflow has seen."""
    if digest and now != digest:
        raise ValueError(f"{where}: its files changed since the workflow began: run it again")


def _known(root: str, entry: Mapping[str, Any]) -> Path:
    name = xxh3_128(json.dumps([os.path.abspath(root), dict(entry)], sort_keys=True, default=str).encode()).hexdigest()
    return Path(KNOWN, f"{name}.txt")


def _digest(files: Iterable[tuple[str, Path]], known: Path) -> str:
    """Digest names, sizes and contents."""
    listed = sorted(dict(files).items())
    if not listed:
        return ""
    contents = _contents(listed, known)
    digest = xxh3_128()
    for name, path in listed:
        digest.update(f"{json.dumps(name)} {_size(path)} {contents[name]}\n".encode())
    return digest.hexdigest()


def _contents(listed: list[tuple[str, Path]], known: Path) -> dict[str, str]:
    """Return the digest of each file's content; what is known of files that did not change is not read again."""
    stamps = {name: _stamp(path) for name, path in listed}
    before = _read(known)
    contents = {name: content for name, (stamp, content) in before.items() if stamps.get(name) == stamp}
    others = [(name, path) for name, path in listed if name not in contents]
    now = time.time_ns()
    with ThreadPoolExecutor(THREADS) as pool:
        read = pool.map(lambda pair: _content(pair[1]), others)
        for (name, _), content in zip(others, progress(read, label="placed files", total=len(others)), strict=True):
            contents[name] = content
    settled = {name: stamp for name, stamp in stamps.items() if stamp and max(stamp[1:3]) < now - JUST_NOW}
    if others or len(before) != len(listed):
        _write(known, {name: (stamp, contents[name]) for name, stamp in settled.items()})
    return contents


def _stamp(path: Path) -> Stamp:
    """Return what changes with a file's content; empty where there is no file behind a link."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return ()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev


def _size(path: Path) -> Stamp:
    """Return the size of a file; that of a folder says nothing of it."""
    return () if path.is_dir() else _stamp(path)[:1]


def _content(path: Path) -> str:
    """Digest the content of a file; of one that is none or cannot be read, say so: whoever prepares it stops there."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return "no-file"
        digest = xxh3_128()
        with open(path, "rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
    except (OSError, ValueError) as error:
        return f"unreadable-{type(error).__name__}"
    return digest.hexdigest()


def _read(known: Path) -> dict[str, tuple[Stamp, str]]:
    """Read what is known of files; nothing where it is damaged, so that they are read again."""
    try:
        body, _, told = known.read_text().rpartition("\n")
        lines = body.splitlines() if told == xxh3_128(body.encode()).hexdigest() else []
        found = {}
        for line in lines:
            content, *stamp, name = line.split(" ", 6)
            found[json.loads(name)] = (tuple(map(int, stamp)), content)
        return found
    except (OSError, ValueError):
        return {}


def _write(known: Path, files: Mapping[str, tuple[Stamp, str]]) -> None:
    """Write what is known of files: a line each, and a digest of the lines."""
    lines = [f"{content} {' '.join(map(str, stamp))} {json.dumps(name)}" for name, (stamp, content) in files.items()]
    body = "\n".join(lines)
    with suppress(OSError), whole(known) as part:  # without it, files are read again
        part.write_text(f"{body}\n{xxh3_128(body.encode()).hexdigest()}")


def record_of_images(folder: str | Path, /) -> str:
    """Return where it is recorded of which placed files a prepared folder was made."""
    return f"{folder}/placed.json"


def record_of_model(name: str, /) -> str:
    """Return where it is recorded of which placed files a model was made."""
    return f"{paths.model(name).removesuffix('.safetensors')}.placed.json"


def record_of_made(path: Path, /) -> Path:
    """Return where the digest of a model's file is recorded, beside it."""
    return path.with_suffix(".made.json")


@contextmanager
def recorded(path: Path, /) -> Iterator[None]:
    """Record the digest of a file that the block makes; one that is made anew has no record until it is whole."""
    record_of_made(path).unlink(missing_ok=True)
    yield
    save_sealed_json(record_of_made(path), {"xxh3_128": digest_of_file(path)})


def require_as_made(path: Path, /) -> None:
    """Raise DamagedFile naming a file that is no longer the one that was recorded; one without a record passes."""
    if path.is_file() and (told := _changed(path, digest_of_file)):
        raise DamagedFile(told)


def model_problem(name: str, /) -> str:
    """Say what is wrong with the file of a model that a job made and that was changed since, "" where nothing is.

    Its content is read once, as that of placed files is.
    """
    path = Path(paths.model(name))
    if not path.is_file():
        return ""
    try:
        return _changed(path, lambda file: _contents([(name, file)], _known(str(path.parent), {"model": name}))[name])
    except (OSError, ValueError) as error:
        return str(error)


def _changed(path: Path, digest: Callable[[Path], str]) -> str:
    """Say that a file is not as its record tells, and what to do; "" where it is, or where there is no record."""
    record = record_of_made(path)
    if not record.is_file():
        return ""
    found = read_sealed_json(record)
    require_words(found, {"xxh3_128": str}, f"{record}:")
    if found["xxh3_128"] == digest(path):
        return ""
    return (
        f"{path}: changed since it was made: it is not the file that {record} tells of, which what was computed is of."
        " Delete both, and it is made again; a model of your own is named in the config"
    )
