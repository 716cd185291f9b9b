"""Download published files: resumed, retried, checked against their sha256; proxies come from the environment.

`HF_HUB_OFFLINE` holds for all files: nothing is downloaded, only what is there is used. For files on
https://huggingface.co, `HF_ENDPOINT` and `HF_TOKEN` mean what they mean for weights.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from reliquant.download import part_file
from reliquant.download.part_file import Begun
from reliquant.download.source import Source
from reliquant.files.artifacts import DISK, DamagedFile
from reliquant.names import file_problem
from reliquant.progress import ROOM, progress

BUSY = {408, 425, 429, 500, 502, 503, 504}  # a server that may answer later
BLOCK = 2**20  # bytes
SCHEMES = ("http", "https")
HUB = "https://huggingface.co"
LONGEST_PAUSE = 60.0  # seconds between two tries, whatever a server's Retry-After asks for


class FetchError(OSError):
    """A file could not be downloaded; the message names its URL."""


def download(source: Source, folder: Path, /, *, tries: int = 6, stall: float = 30.0, pause: float = 1.0) -> Path:
    """Download one file into a folder, unless it is there already with the right sha256 (any, if none is known).

    When the connection breaks or is silent for `stall` seconds, or the server is busy, the download is tried again from
    the byte where it broke, after `pause` seconds, doubled each time (or what the server asks for, at most a minute).
    It is given up after `tries` failures without a megabyte of progress between them. If the file has changed on the
    server, the download starts over. Raises FetchError (no such file, no answer, no space, offline) or DamagedFile
    (another size or sha256 than published; nothing is kept).
    """
    source = replace(source, url=_address(source.url))
    if urlsplit(source.url).scheme not in SCHEMES:
        raise ValueError(f"{source.url}: only http and https are fetched")
    name = file_name(source.url)
    if problem := file_problem(name):
        raise ValueError(f"{source.url}: the name of its file {problem}, got {name!r}")
    folder.mkdir(parents=True, exist_ok=True)
    path, part = folder / name, folder / f".{name}.part"
    if path.is_file() and source.sha256 in (None, sha256_of(path)):
        return path
    if offline():
        state = "is another file" if path.is_file() else "is not there"
        raise FetchError(f"{source.url}: offline (HF_HUB_OFFLINE is set), and {path} {state}")
    _check_space(source, part)
    resumed = _download(source, part, tries, stall, pause)
    sha256 = source.sha256 and sha256_of(part)
    if resumed and sha256 != source.sha256:  # the part that was there was of another file: once more from the start
        part_file.drop(part)
        _download(source, part, tries, stall, pause)
        sha256 = sha256_of(part)
    if sha256 != source.sha256:
        part_file.drop(part)
        raise DamagedFile(f"{source.url}: its sha256 is {sha256}, not {source.sha256}: another file, or altered")
    part_file.finish(part, path)
    return path


def file_name(url: str, /) -> str:
    """Return the name that the file of an address has in its folder."""
    return Path(unquote(urlsplit(url).path)).name


def offline() -> bool:
    """Whether HF_HUB_OFFLINE asks to use only what is there."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")


def sha256_of(path: Path, /) -> str:
    """Hash a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def _address(url: str) -> str:
    """Replace the hub's address by that of the mirror that HF_ENDPOINT names."""
    return _endpoint() + url.removeprefix(HUB) if url.startswith(f"{HUB}/") else url


def _on_hub(url: str) -> bool:
    return url.startswith(f"{_endpoint()}/")


def _first(*sizes: int | None) -> int | None:
    return next((size for size in sizes if size is not None), None)


def _check_space(source: Source, part: Path) -> None:
    """Raise FetchError unless the disk has room for the rest of the file, and for its content if it is unpacked."""
    needed = (source.bytes or 0) * (2 if source.unpack else 1) - part_file.size(part)
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        told = f"needs {needed / 2**30:.1f} GiB in {part.parent}; {free / 2**30:.1f} are free; {ROOM}"
        raise FetchError(f"{source.url}: {told}")


def _download(source: Source, part: Path, tries: int, stall: float, pause: float) -> bool:
    """Fill the part file until it is whole; return whether any try went on from a part that was there."""
    failures, wait, resumed = 0, pause, False
    while True:
        begun = part_file.begun(part, source)
        total, had = _first(source.bytes, begun.get("bytes")), part_file.size(part)
        resumed = resumed or had > 0
        if total is not None and part.is_file() and had >= total:
            break
        try:
            total = _receive(source, part, begun, stall)
            if part_file.size(part) >= total:
                break
            problem: Exception = ConnectionError("the connection ended before the file did")
        except FetchError:
            raise
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and had:  # the file has become shorter than the part that is here
                part_file.drop(part)
            elif error.code not in BUSY:
                said = f"{error.code} {error.reason}{_hint(error)}"
                raise FetchError(f"{source.url}: the server answers {said}") from error
            problem = error
            wait = max(wait, _asked(error.headers.get("Retry-After", "")))
        except (OSError, http.client.HTTPException) as error:
            if (number := getattr(error, "errno", None)) in DISK:  # it is not the connection
                raise OSError(number, os.strerror(number), str(part)) from error
            problem = error
        if part_file.size(part) - had >= BLOCK:  # there was progress
            failures, wait = 0, pause
        failures += 1
        if failures >= tries:
            raise FetchError(f"{source.url}: given up after {failures} tries: {problem}") from problem
        time.sleep(min(wait, LONGEST_PAUSE))
        wait *= 2
    if part_file.size(part) > total:
        part_file.drop(part)
        raise DamagedFile(f"{source.url}: has more than the {total} bytes published: another file, or altered")
    return resumed


def _asked(retry_after: str) -> float:
    """Return how many seconds from now a Retry-After asks to wait, as a number or a date; 0 if it is neither."""
    with suppress(ValueError):
        return float(retry_after)
    with suppress(ValueError, OverflowError):
        return parsedate_to_datetime(retry_after).timestamp() - time.time()
    return 0.0


def _hint(error: urllib.error.HTTPError) -> str:
    return ": accept its terms on the hub and set HF_TOKEN" if error.code in (401, 403) and _on_hub(error.url) else ""


def _receive(source: Source, part: Path, begun: Begun, stall: float) -> int:
    """Append what the server sends to the part file, or start over; return the size of the whole file, in bytes."""
    had = part_file.size(part)
    headers = {"User-Agent": "reliquant", "Accept-Encoding": "identity"}
    headers |= {"Range": f"bytes={had}-"} if had else {}
    headers |= {"If-Range": begun["version"] or ""} if had and begun.get("version") else {}
    with _open(urllib.request.Request(source.url, headers=headers), stall) as answer:
        version, resumes = _version(answer), bool(had) and answer.status == 206
        size = answer.headers.get("Content-Range" if resumes else "Content-Length", "").rpartition("/")[2]
        announced = int(size) if size.isdecimal() else None
        if resumes and not _goes_on(answer, had, announced, begun):
            part_file.drop(part)
            raise ConnectionError("the file has changed on the server")
        if not resumes:
            part_file.drop(part)
        total = _first(source.bytes, announced, begun.get("bytes") if resumes else None)
        if total is None:
            raise FetchError(f"{source.url}: the server does not say how large the file is")
        _check_space(replace(source, bytes=total), part)
        if not resumes:
            part_file.begin(part, {"url": source.url, "version": version, "bytes": announced})
        blocks = -(-(total - part_file.size(part)) // BLOCK)
        for _ in progress(_blocks(answer, part, total), label=part.name[1:-5], total=blocks):
            pass
    return total


def _version(answer: http.client.HTTPResponse) -> str | None:
    """Return what tells versions of a file apart: a strong ETag, else the time of its last change; None without."""
    tag = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else answer.headers.get("Last-Modified")


def _goes_on(answer: http.client.HTTPResponse, had: int, announced: int | None, begun: Begun) -> bool:
    """Whether a partial answer starts where the part file ends, and is of the same version as far as both say."""
    if not answer.headers.get("Content-Range", "").startswith(f"bytes {had}-"):
        return False
    version = _version(answer)
    same_version = None in (version, begun.get("version")) or version == begun.get("version")
    same_size = None in (announced, begun.get("bytes")) or announced == begun.get("bytes")
    return same_version and same_size


def _blocks(answer: http.client.HTTPResponse, part: Path, total: int) -> Iterator[None]:
    """Append the answer to the part file block by block, until it ends or is longer than `total` bytes."""
    with open(part, "ab") as file:
        while data := answer.read1(BLOCK):
            file.write(data)
            if file.tell() > total:
                return
            yield


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects to http and https, never from https to http; the token goes along to the same host only."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        before, after = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if after not in SCHEMES or (before == "https" and after == "http"):
            raise FetchError(f"{req.full_url}: the server sends on to {newurl:.200}: that is not followed")
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        token = req.unredirected_hdrs.get("Authorization")
        if new and token and urlsplit(new.full_url)[:2] == urlsplit(req.full_url)[:2]:
            new.add_unredirected_header("Authorization", token)
        return new


def _open(request: urllib.request.Request, stall: float) -> http.client.HTTPResponse:
    """Send a request; a request to the hub carries the token of HF_TOKEN."""
    token = os.environ.get("HF_TOKEN", "").strip()
    if token and _on_hub(request.full_url):
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    return urllib.request.build_opener(_Redirects).open(request, timeout=stall)
