"""A folder that one process at a time works in."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reliquant.files.digests import DamagedFile
from reliquant.progress import say


@contextmanager
def alone(folder: Path, doing: str, /) -> Iterator[bool]:
    """Make a folder if need be, wait until no other process works in it, and yield whether one did.

    `doing` says what the other one does there, such as "downloads into". The lock ends with the process that holds it.
    Some network file systems lock no folder; there nobody waits.
    """
    waited = False
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
        try:
            waited = _locked(handle, f"{folder}: another process {doing} it") or waited
            if _is_still(handle, folder):
                yield waited
                return
        finally:
            os.close(handle)


@contextmanager
def alone_until_done(folder: Path, doing: str, kept: str, /) -> Iterator[None]:
    """Work alone, as `alone` has it, in a folder of what an interrupted run goes on from; an empty one does not stay.

    Raises DamagedFile as `require_folder` does.
    """
    require_folder(folder, kept)
    with alone(folder, doing):
        try:
            yield
        finally:
            with suppress(OSError):  # not empty, or cleared
                folder.rmdir()


def require_folder(folder: Path, kept: str, /) -> None:
    """Raise DamagedFile where something else lies in a folder's place; `kept` says what is kept there."""
    if os.path.lexists(folder) and not folder.is_dir():
        raise DamagedFile(f"{folder}: is no folder, where {kept}; delete it, and start again")


def _locked(handle: int, told: str) -> bool:
    """Lock an open folder; return whether another process had to be waited for."""
    with suppress(OSError):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(told, "waiting until it has ended")
            fcntl.flock(handle, fcntl.LOCK_EX)
            return True
    return False


def _is_still(handle: int, folder: Path) -> bool:
    """Whether the open folder is the one of that name: who held it before may have deleted it."""
    try:
        return os.path.samestat(os.fstat(handle), folder.stat())
    except FileNotFoundError:
        return False
