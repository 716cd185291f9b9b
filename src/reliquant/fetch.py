"""Download published files: resumed, retried, checked against their sha256; proxies come from the environment."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from reliquant.images import Source
from reliquant.progress import progress
from reliquant.records import DamagedFile
from reliquant.unpack import unpack

BUSY = {408, 425, 429, 500, 502, 503, 504}  # a server that may answer later
BLOCK = 2**20  # bytes
LONGEST_PAUSE = 60.0  # seconds between two tries, whatever a server's Retry-After asks


class FetchError(OSError):
    """A file could not be downloaded; the message names its URL."""


def fetch(sources: Sequence[Source], folder: Path, /, **patience: float) -> list[dict[str, object]]:
    """Download all sources into a folder, then unpack the archives among them and delete those; return the facts.

    `patience` are the words of `download`. Killed, it resumes where it was.
    """
    paths = [download(source, folder, **patience) for source in sources]  # type: ignore[arg-type]
    both = list(zip(sources, paths, strict=True))
    found = [{"url": s.url, "sha256": s.sha256 or sha256_of(p), "bytes": p.stat().st_size} for s, p in both]
    for source, path in zip(sources, paths, strict=True):
        if source.unpack:
            unpack(path, folder)
    for source, path in zip(sources, paths, strict=True):
        if source.unpack:
            path.unlink()
    return [facts | {"licence": s.licence, "unpack": s.unpack} for facts, s in zip(found, sources, strict=True)]


def download(source: Source, folder: Path, /, *, tries: int = 6, stall: float = 30.0, pause: float = 1.0) -> Path:
    """Download one file into a folder, unless it is there already with the right sha256 (any, if none is known).

    A connection that breaks, is silent for `stall` seconds or meets a busy server is tried again from the byte where
    it broke, after `pause` seconds doubled each time (or what the server asks, at most a minute); `tries` failures
    without a megabyte of progress between them end it. Raises FetchError (no such file, no answer, no space) or
    DamagedFile (another size or sha256 than published; nothing is kept).
    """
    if urlsplit(source.url).scheme not in ("http", "https"):
        raise ValueError(f"{source.url}: only http and https are fetched")
    folder.mkdir(parents=True, exist_ok=True)
    name = Path(unquote(urlsplit(source.url).path)).name
    path, part = folder / name, folder / f".{name}.part"
    if path.is_file() and source.sha256 in (None, sha256_of(path)):
        return path
    _check_space(source, folder)
    if source.bytes is None:
        part.unlink(missing_ok=True)  # of a file that nobody describes, a rest may be of another one
    resumed = part.is_file() and part.stat().st_size > 0
    _download(source, part, tries, stall, pause)
    if source.sha256 is None:
        part.replace(path)
        return path
    if resumed and sha256_of(part) != source.sha256:  # what lay there was of another file: once more from its start
        part.unlink()
        _download(source, part, tries, stall, pause)
    if (found := sha256_of(part)) != source.sha256:
        part.unlink()
        raise DamagedFile(f"{source.url}: its sha256 is {found}, not {source.sha256}: another file, or altered")
    part.replace(path)
    return path


def sha256_of(path: Path, /) -> str:
    """Hash a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_space(source: Source, folder: Path) -> None:
    needed, free = (source.bytes or 0) * (2 if source.unpack else 1), shutil.disk_usage(folder).free
    if needed > free:
        raise FetchError(f"{source.url}: needs {needed / 2**30:.1f} GiB in {folder}; {free / 2**30:.1f} are free")


def _download(source: Source, part: Path, tries: int, stall: float, pause: float) -> None:
    failures, wait = 0, pause
    while (had := part.stat().st_size if part.is_file() else 0) < (source.bytes or 1):
        try:
            if source.bytes is None:
                source = replace(source, bytes=_announced(source, stall))
            for _ in progress(_blocks(source, part, stall), label=part.name[1:-5], total=-(-source.bytes // BLOCK)):
                pass
            problem: Exception = ConnectionError("the connection ended before the file did")
        except urllib.error.HTTPError as error:
            error.close()
            if error.code not in BUSY:
                raise FetchError(f"{source.url}: the server answers {error.code} {error.reason}") from error
            problem = error
            asked = error.headers.get("Retry-After", "")
            wait = max(wait, float(asked)) if asked.isdecimal() else wait
        except (OSError, http.client.HTTPException) as error:
            problem = error
        size = part.stat().st_size if part.is_file() else 0
        if source.bytes is not None and size >= source.bytes:
            break
        failures, wait = (1, pause) if size - had >= BLOCK else (failures + 1, wait)
        if failures >= tries:
            raise FetchError(f"{source.url}: given up after {failures} tries: {problem}") from problem
        time.sleep(min(wait, LONGEST_PAUSE))
        wait *= 2
    if (size := part.stat().st_size) != (source.bytes or size):
        part.unlink()
        raise DamagedFile(f"{source.url}: has more than the {source.bytes} bytes published: another file, or altered")


def _announced(source: Source, stall: float) -> int:
    """Ask the server for the size of a file whose publisher does not say it."""
    request = urllib.request.Request(source.url, headers={"User-Agent": "reliquant", "Accept-Encoding": "identity"})
    with urllib.request.urlopen(request, timeout=stall) as answer:
        size = answer.headers.get("Content-Length", "")
    if not size.isdecimal():
        raise FetchError(f"{source.url}: the server does not say how large the file is")
    return int(size)


def _blocks(source: Source, part: Path, stall: float) -> Iterator[None]:
    """Append what the server sends to the part file, a block at a time; start over if it sends the whole file."""
    had = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(source.url, headers={"User-Agent": "reliquant", "Accept-Encoding": "identity"})
    if had:
        request.add_header("Range", f"bytes={had}-")
    with urllib.request.urlopen(request, timeout=stall) as answer:
        resumes = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {had}-")
        with open(part, "ab" if had and resumes else "wb") as file:
            while data := answer.read1(BLOCK):
                file.write(data)
                if file.tell() > source.bytes:
                    return
                yield
