"""Hidden folders for what is half written: each says whose it is, and what a killed process left is removed.

The name of such a folder has its host, process and the time at which that process started, so that a number that the
system gave to another process keeps nothing for ever.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

DAY = 24 * 3600.0  # seconds for which the folder of another host is kept: whether its process lives is not known here
OURS = re.compile(r"\..*\.(?P<host>[\w-]+)\+(?P<pid>\d+)\+(?P<start>\w*)\+\d+\.part")
EARLIER = re.compile(r"\..*\.\d+\.part")  # of versions that told the process alone
LONGEST = 120  # characters of a file's name in that of its folder; with the owner's it stays under 255 bytes


@contextmanager
def folder(parent: Path, name: str, /, *, private: bool = False) -> Iterator[Path]:
    """Yield an empty hidden folder in `parent`, deleted when the block ends; first delete those of dead processes.

    A `private` one is open to the user alone, as it must be where everybody may write.
    """
    sweep(parent)
    spare = _spare()
    made = _made(Path(parent), name, 0o700 if private else 0o777)
    try:
        yield made
    finally:
        with suppress(OSError):
            if spare is not None:
                os.close(spare)
            _delete(made)


def _spare() -> int | None:
    """Open a file that can be closed when a folder must be listed and no other file can be opened; None at once so."""
    with suppress(OSError):
        return os.open(os.devnull, os.O_RDONLY)
    return None


def _delete(folder: Path) -> None:
    """Delete a folder with one open file at a time; `shutil.rmtree` keeps one open for each level."""
    for path in list(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            _delete(path)
        else:
            path.unlink()
    folder.rmdir()


def sweep(parent: Path, /) -> list[str]:
    """Delete what killed processes left in a folder; return the names. What cannot be deleted stays."""
    removed = []
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if entry.name.endswith(".part") and entry.name.startswith(".") and _is_left(entry):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    with suppress(OSError):
                        os.unlink(entry.path)
                removed.append(entry.name)
    return removed


def started(pid: int, /) -> str | None:
    """Return what tells a process from others of its number, "" where the system does not say; None if it is dead."""
    try:
        words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return _started_without_proc(pid)
    return None if words[0] in (b"Z", b"X") else f"{_boot()}{words[19].decode()}"


def _started_without_proc(pid: int) -> str | None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except (OSError, OverflowError):
        pass  # of another user: it lives
    with suppress(OSError, subprocess.SubprocessError):
        words = ["ps", "-o", "lstart=", "-p", str(pid)]
        told = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}, timeout=10)
        return re.sub(r"\W", "", told.stdout)
    return ""


@functools.cache
def host() -> str:
    """Return the name of this host, or container: processes that it names are those that can be seen here."""
    seen = [platform.node()]
    with suppress(OSError):
        seen.append(Path("/etc/machine-id").read_text().strip())
    with suppress(OSError):
        seen.append(os.readlink("/proc/self/ns/pid"))  # a container may have the name of another
    short = re.sub(r"[^A-Za-z0-9-]", "-", seen[0])[:24]
    return f"{short}-{hashlib.sha256(repr(seen).encode()).hexdigest()[:8]}"


@functools.cache
def _boot() -> str:
    """Return a mark of when the system started: the times of processes count from there."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text()[:8] + "_"
    return ""


def _made(parent: Path, name: str, mode: int) -> Path:
    """Make a folder that no other call has, in this process or another."""
    short = name.encode()[:LONGEST].decode(errors="ignore")
    owner = f"{host()}+{os.getpid()}+{started(os.getpid()) or ''}"
    for number in itertools.count():
        made = parent / f".{short}.{owner}+{number}.part"
        try:
            made.mkdir(mode)
        except FileExistsError:
            continue
        return made
    raise AssertionError


def _is_left(entry: os.DirEntry[str]) -> bool:
    """Whether a hidden file or folder is of a process that is dead, or that nobody can ask for and that is old."""
    owner = OURS.fullmatch(entry.name)
    if owner is None:
        note = os.path.exists(f"{entry.path}.json")  # it is of a download, which goes on where it was
        return bool(EARLIER.fullmatch(entry.name)) and not note and _is_old(entry)
    if owner["host"] != host():
        return _is_old(entry)
    now = started(int(owner["pid"])) if len(owner["pid"]) < 10 else None
    if now == "":
        return _is_old(entry)
    return now != owner["start"]


def _is_old(entry: os.DirEntry[str]) -> bool:
    """Whether nothing was written there for a day."""
    with suppress(OSError):
        times = [entry.stat(follow_symlinks=False).st_mtime]
        if entry.is_dir(follow_symlinks=False):
            with os.scandir(entry.path) as inside:
                times += [other.stat(follow_symlinks=False).st_mtime for other in inside]
        return time.time() - max(times) > DAY
    return False
