"""Lock files: they record which bytes the first download brought, and every later download must bring the same.

`config/weights.lock.json` is committed: the first fetch of a model records revision, file, sha256 and size. The same
is `config/data.lock.json` for data whose sha256 nobody publishes.
"""

from __future__ import annotations

import fcntl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict

from reliquant.files.artifacts import DamagedFile, read_json, save_json

TEXT = (str, type(None))
KINDS: dict[str, type | tuple[type, ...]] = {"sha256": TEXT, "bytes": int, "revision": TEXT, "file": str}  # of a pin


class Pin(TypedDict, total=False):
    """Hold what is recorded of a file: its sha256 and size in bytes; of weights the revision and name too.

    A pin that a person wrote may have the revision only.
    """

    sha256: str | None
    bytes: int
    revision: str | None
    file: str


def check_or_record(lock: Path, name: str, facts: Mapping[str, Any], /) -> bool:
    """Compare a fetched file with its pin in the lock file, or add the pin; return whether it was added.

    Raises DamagedFile when they differ.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock.parent / f".{lock.name}.guard", "w") as guard:  # jobs that fetch at once take turns
        fcntl.flock(guard, fcntl.LOCK_EX)
        if check(lock, name, facts):
            return False
        pinned = read_lock(lock)
        save_json(lock, {**pinned, name: {**pinned.get(name, {}), **facts}})
        return True


def check(lock: Path, name: str, facts: Mapping[str, Any], /) -> bool:
    """Whether the lock file has the sha256 of a fetched file; raise DamagedFile when it has another sha256.

    A pin that has only a revision, as a person may write it, is compared by the revision.
    """
    pin = read_lock(lock).get(name, {})
    word: Literal["sha256", "revision"] = "sha256" if pin.get("sha256") else "revision"
    if pin.get(word) not in (None, facts.get(word)):
        raise DamagedFile(
            f"{name}: {facts.get('file', 'its file')} has the {word} {facts.get(word)}, not {pin[word]} as {lock} says:"
            " another file than the study was made with, or altered. Delete it to fetch it again, or take its entry out"
            f" of {lock.name} if this one is meant"
        )
    return word == "sha256"


def read_lock(lock: Path, /) -> dict[str, Pin]:
    """Read the pins of a lock file, by name; none without the file. Raises DamagedFile if it is no JSON object."""
    if not lock.is_file():
        return {}
    pins = read_json(lock)
    for name, pin in pins.items():
        if problem := _problem(pin):
            raise DamagedFile(f"{lock}: the pin of {name!r:.100}: {problem}")
    return pins


def _problem(pin: object) -> str:
    """Say what is wrong with a pin; empty where nothing is."""
    if not isinstance(pin, dict):
        return f"must be an object with {', '.join(KINDS)}, not {pin!r:.60}"
    for word, value in pin.items():
        if word not in KINDS:
            return f"{word!r:.60} is unknown; a pin has {', '.join(KINDS)}"
        if not isinstance(value, KINDS[word]) or isinstance(value, bool):
            return f"{word} cannot be {value!r:.60}"
    return ""
