"""WebDataset tars: members that share a key are one sample; read in place, never extracted."""

from __future__ import annotations

import json
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "ppm")
LONGEST_TEXT = 2**20  # bytes of a label, caption or json


@dataclass(frozen=True)
class Member:
    """Say where the bytes of a member lie: in which tar, from where, how many."""

    tar: Path
    start: int
    size: int

    def bytes(self) -> bytes:
        """Read the member's bytes; raise ValueError where the tar ends before them."""
        with open(self.tar, "rb") as file:
            data = os.pread(file.fileno(), self.size, self.start)
        if len(data) != self.size:
            raise ValueError(f"{self.tar}: truncated: it ends inside a member")
        return data


def samples(tar: Path, /) -> dict[str, dict[str, Member]]:
    """Index a tar: key (path up to the first dot of the file name) -> suffix -> member, in the tar's order.

    Only regular members count: links, devices and folders are passed over, and nothing is ever written to a path of
    the tar. Raises ValueError naming a tar that is truncated, compressed or not a tar, or a member that comes twice.
    """
    by_key: dict[str, dict[str, Member]] = {}
    size = tar.stat().st_size
    try:
        with tarfile.open(tar, "r:") as archive:
            for info in archive:
                folder, _, name = info.name.rpartition("/")
                stem, dot, suffix = name.partition(".")
                if not info.isreg() or not dot or not stem:
                    continue
                if info.offset_data + info.size > size:
                    raise ValueError(f"{tar}: truncated: it ends inside {info.name}")
                parts = by_key.setdefault(f"{folder}/{stem}" if folder else stem, {})
                if suffix.lower() in parts:
                    raise ValueError(f"{tar}: {info.name} is there twice")
                parts[suffix.lower()] = Member(tar, info.offset_data, info.size)
    except tarfile.TarError as error:
        raise ValueError(f"{tar}: not a plain tar, or truncated ({error}); decompress compressed ones") from error
    return by_key


def facts(name: str, parts: dict[str, Member], /) -> tuple[int | str | None, str | None]:
    """Return the label (`cls`, or `label`/`cls` in `json`) and the caption (`txt`, or `caption` in `json`) of a sample.

    Each is None where the sample has none; a label of digits is a number. Raises ValueError naming a text that is too
    long or cannot be read, and a `json` that is no object.
    """
    described: dict[str, Any] = {}
    if "json" in parts:
        try:
            described = json.loads(_text(name, parts["json"]))
        except json.JSONDecodeError as error:
            raise ValueError(f"{name}.json: not JSON ({error})") from error
        if not isinstance(described, dict):
            raise ValueError(f"{name}.json: must hold an object with label or caption")
    label = _text(name, parts["cls"]).strip() if "cls" in parts else described.get("label", described.get("cls"))
    if isinstance(label, str) and label.isdecimal():
        label = int(label)
    caption = _text(name, parts["txt"]).strip() if "txt" in parts else described.get("caption")
    return label, caption


def image(parts: dict[str, Member], /) -> Member | None:
    """Return the member that holds the sample's image, None if there is none."""
    return next((parts[suffix] for suffix in IMAGE_SUFFIXES if suffix in parts), None)


def _text(name: str, member: Member) -> str:
    if member.size > LONGEST_TEXT:
        raise ValueError(f"{member.tar}: {name}: a text of {member.size} bytes; at most {LONGEST_TEXT} are read")
    try:
        return member.bytes().decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{member.tar}: {name}: not text ({error})") from error
