"""Lock files: which bytes a first download brought, so that every later one must bring the same.

`config/weights.lock.json` is committed: the first fetch of a model records revision, file, sha256 and size, and every
later one must find the same. `config/data.lock.json` is the same for data without a published sha256.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reliquant.artifacts import DamagedFile, save_json

Pin = Mapping[str, Any]


def check_or_record(lock: Path, name: str, facts: Mapping[str, Any], /) -> None:
    """Compare a fetched file with the lock file, or add what is not there; raise DamagedFile when it is another one."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock.parent / f".{lock.name}.guard", "w") as guard:  # jobs that fetch at once take turns
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not check(lock, name, facts):
            pinned = read_lock(lock)
            save_json(lock, {**pinned, name: {**pinned.get(name, {}), **facts}})


def check(lock: Path, name: str, facts: Mapping[str, Any], /) -> bool:
    """Whether the lock file has the sha256 of a fetched file; raise DamagedFile when it has another one's.

    An entry of a revision only, as a hand may write it, is compared by that.
    """
    pin = read_lock(lock).get(name, {})
    word = "sha256" if pin.get("sha256") else "revision"
    if pin.get(word) not in (None, facts.get(word)):
        raise DamagedFile(
            f"{name}: {facts.get('file', 'its file')} has the {word} {facts.get(word)}, not {pin[word]} as {lock} says:"
            " another file than the study was made with, or altered. Delete it to fetch it again, or take its entry out"
            f" of {lock.name} if this one is meant"
        )
    return word == "sha256"


def read_lock(lock: Path, /) -> dict[str, Pin]:
    """Read the lock file; nothing is pinned without one. Raises DamagedFile if it is no JSON object."""
    if not lock.is_file():
        return {}
    try:
        found = json.loads(lock.read_text())
    except json.JSONDecodeError as error:
        raise DamagedFile(f"{lock}: is no JSON ({error})") from error
    if not isinstance(found, dict) or not all(isinstance(pin, dict) for pin in found.values()):
        raise DamagedFile(f"{lock}: must be an object of pins, objects themselves, by name")
    return found
