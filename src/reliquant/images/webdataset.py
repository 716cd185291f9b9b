"""WebDataset tars: members that share a key are one sample; read in place, never extracted."""

from __future__ import annotations

import os
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reliquant.download.tar_headers import Header, members
from reliquant.files.bounded import parse_json
from reliquant.images.columns import CAPTIONS
from reliquant.images.decoding import ImageFiles, opened
from reliquant.images.formats import HEAD, IMAGE_SUFFIXES, described, head_of, image_format, is_hidden
from reliquant.images.walking import told

FIRST = ("jpg", "jpeg", "png", "webp", "ppm")  # where a sample has several images, the first of these is its image
TEXTS = frozenset(["cls", "json", "txt"])  # what describes a sample
LONGEST_TEXT = 2**20  # bytes of a label, caption or json


@dataclass(frozen=True)
class Member:
    """Say where the bytes of a member lie: in which tar, from where, how many."""

    tar: Path
    start: int
    size: int

    def bytes(self, most: int | None = None, /) -> bytes:
        """Read the member's bytes, or at most so many; raise ValueError where the tar ends before them."""
        size = self.size if most is None else min(self.size, most)
        with open(self.tar, "rb") as file:
            data = os.pread(file.fileno(), size, self.start)
        if len(data) != size:
            raise ValueError(f"{self.tar}: truncated: it ends inside a member")
        return data


@dataclass
class Samples:
    """Hold the samples of a tar with an image, in its order, as suffix -> member by key, and count what is not used."""

    by_key: dict[str, dict[str, Member]] = field(default_factory=dict)
    passed_over: Counter[str] = field(default_factory=Counter)


@dataclass
class Described:
    """Hold the images of tars, their names (tar/key), and the label and caption of each, None where it has none."""

    read: ImageFiles
    names: list[str]
    labels: list[Any]
    captions: list[str | None]
    passed_over: Counter[str]
    all_captions: list[list[str]] = field(default_factory=list)  # of each image, those that say something


def read_tars(paths: list[Path], /) -> Described:
    """Index the samples of tars that have an image, in their order; raise ValueError where there is none."""
    members: list[Member] = []
    names: list[str] = []
    found = Described(ImageFiles(lambda i: opened(members[i].bytes(), names[i])), names, [], [], Counter())
    for path in paths:
        of_tar = samples(path)
        found.passed_over += of_tar.passed_over
        for key, parts in of_tar.by_key.items():
            label, caption = facts(key, parts)
            members.append(image(parts))
            names.append(f"{path.name}/{key}")
            found.labels.append(label)
            found.captions.append(caption)
            found.all_captions.append(_all_captions(key, parts, caption))
    if not names:
        tars = ", ".join(path.name for path in paths)
        raise ValueError(f"{paths[0].parent}: {tars}: holds no images ({told(0, found.passed_over)})")
    return found


def samples(tar: Path, /) -> Samples:
    """Index the samples of a tar that have an image.

    A key is the path up to the first dot of the file name, as the webdataset library has it; but what it takes for
    further parts of a sample, `img_v1.0_1.png` with `img_v1.0_1.cls`, is a sample with the key `img_v1.0_1` where it is
    an image with a text as its sample has one, too, or where the short key has no image. Hidden members, links and what
    belongs to no sample are counted; hard links are the member that they repeat. Nothing is ever written to a path of
    the tar.
    Raises ValueError naming a tar that is truncated, compressed or not a tar, or a member that comes twice.
    """
    found = Samples()
    split: dict[str, dict[str, Member]] = {}
    for key, parts in _by_first_dot(tar, found.passed_over).items():
        split |= _split(key, parts)
    for key, parts in sorted(split.items(), key=lambda sample: min(member.start for member in sample[1].values())):
        picture = image(parts)
        used = {suffix for suffix, member in parts.items() if picture and (suffix in TEXTS or member == picture)}
        found.passed_over.update(f".{suffix}" for suffix in parts if suffix not in used)
        if picture:
            found.by_key[key] = parts
    return found


def _by_first_dot(tar: Path, passed_over: Counter[str]) -> dict[str, dict[str, Member]]:
    """Index all members: path up to the first dot of the file name -> the rest, in lower case -> member."""
    by_key: dict[str, dict[str, Member]] = {}
    for name, member in _members(tar, passed_over):
        folder, slash, file = name.rpartition("/")
        stem, dot, suffix = file.partition(".")
        if any(is_hidden(part) for part in name.split("/") if part not in (".", "..")):
            passed_over[f"{_ending(name)} (hidden)"] += 1
        elif not dot and not image_format(member.bytes(HEAD)):
            passed_over[_ending(name)] += 1
        else:
            parts = by_key.setdefault(folder + slash + stem, {})
            if suffix.lower() in parts:
                raise ValueError(f"{tar}: {name} is there twice")
            parts[suffix.lower()] = member
    return by_key


def _members(tar: Path, passed_over: Counter[str]) -> Iterator[tuple[str, Member]]:
    """Yield the regular files of a tar by name, and hard links to one of them; count the others."""
    size = tar.stat().st_size
    by_name: dict[str, Member] = {}
    try:
        with tarfile.open(tar, "r:", tarinfo=Header) as archive:
            for info in members(archive):
                if info.isreg() and not info.issparse():
                    if info.offset_data + info.size > size:
                        raise ValueError(f"{tar}: truncated: it ends inside {info.name}")
                    by_name[info.name] = Member(tar, info.offset_data, info.size)
                    yield info.name, by_name[info.name]
                elif info.islnk() and info.linkname in by_name:
                    yield info.name, by_name[info.linkname]
                elif not info.isdir():
                    passed_over[f"{_ending(info.name)} (link or no plain file)"] += 1
            _check_end(tar, archive.offset)
    except tarfile.TarError as error:
        what = described(head_of(tar))
        raise ValueError(
            f"{tar}: not a plain tar ({what}), or truncated ({error}); decompress a compressed one"
        ) from error


def _check_end(tar: Path, start: int) -> None:
    """Raise ValueError unless zeros begin at this byte and go on to the end: tarfile stops at damage without a word."""
    with open(tar, "rb") as file:
        file.seek(start)
        if len(block := file.read(HEAD)) < HEAD:
            raise ValueError(f"{tar}: truncated: it ends without the mark of its end")
        if any(block):
            raise ValueError(f"{tar}: damaged at byte {start}: no member begins there")
        while block := file.read(2**20):
            if any(block):
                raise ValueError(f"{tar}: goes on after the mark of its end, at byte {start}: are two tars joined?")


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower() or "(no suffix)"


def _split(key: str, parts: dict[str, Member]) -> dict[str, dict[str, Member]]:
    """Split the members of a key by what stands before their last dot, where that makes samples of their own.

    What continues the key of an image is a further part of its sample, unless it is an image with a like text.
    """
    by_stem: dict[str, dict[str, Member]] = {}
    for suffix, member in parts.items():
        stem, _, last = suffix.rpartition(".")
        by_stem.setdefault(stem, {})[last] = member
    split: dict[str, dict[str, Member]] = {}
    for stem in sorted(by_stem, key=len):
        own = by_stem[stem]
        shorter = [other for other in split if not other or stem.startswith(f"{other}.")]
        owner = next((other for other in reversed(shorter) if image(split[other])), None)
        if owner is None or (image(own) and not TEXTS.isdisjoint(own.keys() & split[owner].keys())):
            split[stem] = own
        else:
            further = stem.removeprefix(owner).lstrip(".")
            split[owner] |= {f"{further}.{last}": member for last, member in own.items()}
    return {f"{key}.{stem}" if stem else key: own for stem, own in split.items()}


def facts(name: str, parts: dict[str, Member], /) -> tuple[Any, str | None]:
    """Return the label (`cls`, or `label`/`cls` in `json`) and the caption (`txt`, or `caption` in `json`) of a sample.

    Each is None where the sample has none. Of several captions in `json` the first is taken, and `text` and the like
    serve where there is no `caption`. Raises ValueError naming a text that is too long or cannot be read, and a `json`
    that is no object.
    """
    described_by: dict[str, Any] = {}
    if "json" in parts:
        described_by = parse_json(_text(name, parts["json"]), f"{name}.json:")
        if not isinstance(described_by, dict):
            raise ValueError(f"{name}.json: must hold an object with label or caption")
    label = _text(name, parts["cls"]).strip() if "cls" in parts else described_by.get("label", described_by.get("cls"))
    if "txt" in parts:
        return label, _text(name, parts["txt"]).strip()
    caption = next((described_by[word] for word in CAPTIONS if described_by.get(word) is not None), None)
    if isinstance(caption, list):
        caption = next((text for text in caption if text), "")
    return label, caption if isinstance(caption, str) else None


def _all_captions(name: str, parts: dict[str, Member], first: str | None) -> list[str]:
    """Return every caption of a sample: those of the list that `facts` takes the first of, else that one."""
    if "json" in parts and "txt" not in parts:
        described_by = parse_json(_text(name, parts["json"]), f"{name}.json:")
        listed = next((described_by[word] for word in CAPTIONS if described_by.get(word) is not None), None)
        if isinstance(listed, list):
            return [text for text in listed if isinstance(text, str) and text.strip()]
    return [first] if first and first.strip() else []


def image(parts: dict[str, Member], /) -> Member | None:
    """Return the member that holds the sample's image, known by its suffix or else by its content, or None."""
    for suffix in (*FIRST, *parts):
        if suffix in parts and f".{suffix}" in IMAGE_SUFFIXES:
            return parts[suffix]
    others = [member for suffix, member in parts.items() if suffix not in TEXTS and "." not in suffix]
    return next((member for member in others if image_format(member.bytes(HEAD))), None)


def _text(name: str, member: Member) -> str:
    if member.size > LONGEST_TEXT:
        raise ValueError(f"{member.tar}: {name}: a text of {member.size} bytes; at most {LONGEST_TEXT} are read")
    try:
        return member.bytes().decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{member.tar}: {name}: not text ({error})") from error
