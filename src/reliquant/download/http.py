"""Download published files: resumed, retried, checked against their sha256; proxies come from the environment.

`HF_HUB_OFFLINE` holds for all files: only what is there is used. For those on https://huggingface.co, `HF_ENDPOINT` and
`HF_TOKEN` mean what they mean for weights.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from reliquant.artifacts import DamagedFile
from reliquant.download.source import Source
from reliquant.download.unpack import unpack
from reliquant.progress import progress

BUSY = {408, 425, 429, 500, 502, 503, 504}  # a server that may answer later
BLOCK = 2**20  # bytes
HUB = "https://huggingface.co"
LONGEST_PAUSE = 60.0  # seconds between two tries, whatever a server's Retry-After asks
Facts = Mapping[str, Any]


class FetchError(OSError):
    """A file could not be downloaded; the message names its URL."""


def fetch(
    sources: Sequence[Source],
    folder: Path,
    /,
    *,
    check: Callable[[str, Facts], object] | None = None,
    **patience: float,
) -> list[dict[str, object]]:
    """Download all sources into a folder, then unpack the archives among them and delete those; return the facts.

    Before anything is unpacked, `check(url, facts)` may refuse what has no published sha256 by raising. `patience` are
    the words of `download`. Killed, it resumes where it was.
    """
    paths = _downloaded(sources, folder, patience)
    both = list(zip(sources, paths, strict=True))
    found = [{"url": s.url, "sha256": s.sha256 or sha256_of(p), "bytes": p.stat().st_size} for s, p in both]
    for (source, path), facts in zip(both, found, strict=True):
        if check and source.sha256 is None:
            check(source.url, {**facts, "file": str(path)})
    archives = [path for source, path in both if source.unpack]
    unpack(archives, folder)
    for archive in archives:
        archive.unlink()
    return [facts | {"licence": s.licence, "unpack": s.unpack} for facts, s in zip(found, sources, strict=True)]


def download(source: Source, folder: Path, /, *, tries: int = 6, stall: float = 30.0, pause: float = 1.0) -> Path:
    """Download one file into a folder, unless it is there already with the right sha256 (any, if none is known).

    A connection that breaks, is silent for `stall` seconds or meets a busy server is tried again from the byte where
    it broke, after `pause` seconds doubled each time (or what the server asks, at most a minute); `tries` failures
    without a megabyte of progress between them end it. A file that has changed on the server starts over. Raises
    FetchError (no such file, no answer, no space, offline) or DamagedFile (another size or sha256 than published;
    nothing is kept).
    """
    source = replace(source, url=_address(source.url))
    if urlsplit(source.url).scheme not in ("http", "https"):
        raise ValueError(f"{source.url}: only http and https are fetched")
    folder.mkdir(parents=True, exist_ok=True)
    name = Path(unquote(urlsplit(source.url).path)).name
    path, part = folder / name, folder / f".{name}.part"
    if path.is_file() and source.sha256 in (None, sha256_of(path)):
        return path
    if offline():
        state = "is another file" if path.is_file() else "is not there"
        raise FetchError(f"{source.url}: offline (HF_HUB_OFFLINE is set), and {path} {state}")
    _check_space(source, part)
    resumed = _download(source, part, tries, stall, pause)
    found = source.sha256 and sha256_of(part)
    if resumed and found != source.sha256:  # what lay there was of another file: once more from its start
        _drop(part)
        _download(source, part, tries, stall, pause)
        found = sha256_of(part)
    if found != source.sha256:
        _drop(part)
        raise DamagedFile(f"{source.url}: its sha256 is {found}, not {source.sha256}: another file, or altered")
    part.replace(path)
    _beside(part).unlink(missing_ok=True)
    return path


def offline() -> bool:
    """Whether HF_HUB_OFFLINE asks to use only what is there."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")


def sha256_of(path: Path, /) -> str:
    """Hash a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _downloaded(sources: Sequence[Source], folder: Path, patience: Mapping[str, Any]) -> list[Path]:
    """Download files; offline, name all that are not there."""
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


def _endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def _address(url: str) -> str:
    """Replace the hub's address by that of the mirror that HF_ENDPOINT names."""
    return _endpoint() + url.removeprefix(HUB) if url.startswith(f"{HUB}/") else url


def _on_hub(url: str) -> bool:
    return url.startswith(f"{_endpoint()}/")


def _first(*sizes: int | None) -> int | None:
    return next((size for size in sizes if size is not None), None)


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _check_space(source: Source, part: Path) -> None:
    """Raise FetchError unless what is still to come, unpacked too where it will be, has a place."""
    needed = (source.bytes or 0) * (2 if source.unpack else 1) - _size(part)
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise FetchError(f"{source.url}: needs {needed / 2**30:.1f} GiB in {part.parent}; {free / 2**30:.1f} are free")


def _download(source: Source, part: Path, tries: int, stall: float, pause: float) -> bool:
    """Fill the part file until it is whole; return whether it has been appended to."""
    failures, wait, resumed = 0, pause, False
    while True:
        begun = _begun(source, part)
        total, had = _first(source.bytes, begun.get("bytes")), _size(part)
        resumed = resumed or had > 0
        if total is not None and part.is_file() and had >= total:
            break
        try:
            total = _receive(source, part, begun, stall)
            if _size(part) >= total:
                break
            problem: Exception = ConnectionError("the connection ended before the file did")
        except FetchError:
            raise
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and had:  # it has become shorter than what is here
                _drop(part)
            elif error.code not in BUSY:
                said = f"{error.code} {error.reason}{_hint(error)}"
                raise FetchError(f"{source.url}: the server answers {said}") from error
            problem = error
            wait = max(wait, _asked(error.headers.get("Retry-After", "")))
        except (OSError, http.client.HTTPException) as error:
            problem = error
        failures, wait = (1, pause) if _size(part) - had >= BLOCK else (failures + 1, wait)
        if failures >= tries:
            raise FetchError(f"{source.url}: given up after {failures} tries: {problem}") from problem
        time.sleep(min(wait, LONGEST_PAUSE))
        wait *= 2
    if _size(part) > total:
        _drop(part)
        raise DamagedFile(f"{source.url}: has more than the {total} bytes published: another file, or altered")
    return resumed


def _asked(retry_after: str) -> float:
    """Return the seconds from now that a Retry-After asks for, a number or a date; 0 if it is neither."""
    with suppress(ValueError):
        return float(retry_after)
    with suppress(ValueError, OverflowError):
        return parsedate_to_datetime(retry_after).timestamp() - time.time()
    return 0.0


def _hint(error: urllib.error.HTTPError) -> str:
    return ": accept its terms on the hub and set HF_TOKEN" if error.code in (401, 403) and _on_hub(error.url) else ""


def _beside(part: Path) -> Path:
    """Return the file that says of which version on the server a part file is the start."""
    return part.with_name(f"{part.name}.json")


def _drop(part: Path) -> None:
    part.unlink(missing_ok=True)  # first: what is beside it never speaks of another one
    _beside(part).unlink(missing_ok=True)


def _begun(source: Source, part: Path) -> Facts:
    """Read of which version the part file is the start; drop it if neither this nor a sha256 keeps it from a mix."""
    try:
        begun = json.loads(_beside(part).read_text())
    except (OSError, ValueError):
        begun = {}
    if begun.get("url") != source.url:
        begun = {}
    if not begun.get("version") and source.sha256 is None:
        _drop(part)
        return {}
    return begun


def _receive(source: Source, part: Path, begun: Facts, stall: float) -> int:
    """Append what the server sends to the part file, or start over with the whole file; return the size of that."""
    had = _size(part)
    headers = {"User-Agent": "reliquant", "Accept-Encoding": "identity"}
    headers |= {"Range": f"bytes={had}-"} if had else {}
    headers |= {"If-Range": begun["version"]} if had and begun.get("version") else {}
    with _open(urllib.request.Request(source.url, headers=headers), stall) as answer:
        version, resumes = _version(answer), bool(had) and answer.status == 206
        size = answer.headers.get("Content-Range" if resumes else "Content-Length", "").rpartition("/")[2]
        announced = int(size) if size.isdecimal() else None
        if resumes and not _goes_on(answer, had, announced, begun):
            _drop(part)
            raise ConnectionError("the file has changed on the server")
        if not resumes:
            _drop(part)
        total = _first(source.bytes, announced, begun.get("bytes") if resumes else None)
        if total is None:
            raise FetchError(f"{source.url}: the server does not say how large the file is")
        _check_space(replace(source, bytes=total), part)
        if not resumes:
            _beside(part).write_text(json.dumps({"url": source.url, "version": version, "bytes": announced}))
        blocks = -(-(total - _size(part)) // BLOCK)
        for _ in progress(_blocks(answer, part, total), label=part.name[1:-5], total=blocks):
            pass
    return total


def _version(answer: http.client.HTTPResponse) -> str | None:
    """Return what tells one version of a file from another: a strong ETag, else the time of its last change."""
    tag = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else answer.headers.get("Last-Modified")


def _goes_on(answer: http.client.HTTPResponse, had: int, announced: int | None, begun: Facts) -> bool:
    """Whether a partial answer starts where the part file ends and is of the same version, as far as both say."""
    same = [(_version(answer), begun.get("version")), (announced, begun.get("bytes"))]
    starts = answer.headers.get("Content-Range", "").startswith(f"bytes {had}-")
    return starts and all(None in pair or pair[0] == pair[1] for pair in same)


def _blocks(answer: http.client.HTTPResponse, part: Path, total: int) -> Iterator[None]:
    """Append the answer to the part file, a block at a time, until it is too long."""
    with open(part, "ab") as file:
        while data := answer.read1(BLOCK):
            file.write(data)
            if file.tell() > total:
                return
            yield


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects; the token goes along to the same host only."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        token = req.unredirected_hdrs.get("Authorization")
        if new and token and urlsplit(new.full_url)[:2] == urlsplit(req.full_url)[:2]:
            new.add_unredirected_header("Authorization", token)
        return new


def _open(request: urllib.request.Request, stall: float) -> http.client.HTTPResponse:
    """Send a request; to the hub with the token in HF_TOKEN."""
    if (token := os.environ.get("HF_TOKEN", "").strip()) and _on_hub(request.full_url):
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    return urllib.request.build_opener(_Redirects).open(request, timeout=stall)
