"""The part file of a download: what has come so far, and a note beside it of the version that it is the start of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypedDict

from reliquant.download.source import Source
from reliquant.files.bounded import read_json


class Begun(TypedDict, total=False):
    """Name the version of a file on the server that a part file is the start of, and its whole size; empty if unknown.

    `version` is what the server tells versions apart by, None if by nothing; `bytes` is None where it does not say.
    """

    url: str
    version: str | None
    bytes: int | None


def size(part: Path, /) -> int:
    """Return the bytes that have come so far."""
    return part.stat().st_size if part.is_file() else 0


def begin(part: Path, begun: Begun, /) -> None:
    """Write the note of a part file that is about to begin."""
    _note(part).write_text(json.dumps(begun))


def begun(part: Path, source: Source, /) -> Begun:
    """Read the note of a part file, empty if it is of another address.

    Drops the part file if neither the note nor a sha256 of the source keeps two versions from being mixed.
    """
    try:
        note: Begun = read_json(_note(part))
    except (OSError, ValueError):
        note = {}
    if not isinstance(note, dict) or note.get("url") != source.url:
        note = {}
    if not note.get("version") and source.sha256 is None:
        drop(part)
        return {}
    return note


def drop(part: Path, /) -> None:
    """Delete a part file and its note."""
    part.unlink(missing_ok=True)  # first, so that the note never speaks of another part file
    _note(part).unlink(missing_ok=True)


def finish(part: Path, path: Path, /) -> None:
    """Move a part file that is whole to its place."""
    part.replace(path)
    _note(part).unlink(missing_ok=True)


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")
