"""List the image files of a tree, sorted the same on every machine, and count what is passed over."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reliquant.images.formats import IMAGE_SUFFIXES, Kind, head_of, image_format, is_hidden, kind_of

MANY = 8  # kinds of files that are named; the others are counted together


@dataclass
class Found:
    """Hold the names of files below a folder, sorted by their parts, and how many others there are of each suffix."""

    names: list[str] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)


def find_images(folder: Path, /) -> Found:
    """List the images of a folder and of all folders in it, as names below it.

    What a file is, its content says; one whose name ends as those of images do is taken for an image without a look, so
    that a damaged one is told when it is read. Links to folders are followed, but not in circles. Hidden files and
    folders are no data. Raises FileNotFoundError for a missing folder, and what the system says of one that may not be
    read.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    found = Found()
    for name, entry in _files(folder, "", (_identity(os.stat(folder)),), found.passed_over):
        if _is_image(entry):
            found.names.append(name)
        else:
            found.passed_over[suffix_of(entry)] += 1
    return found


def find_files(folder: Path, kind: Kind, /, *, known: tuple[str, ...] = ()) -> Found:
    """List the files of a kind in a folder itself, as names; `known` names others that are read, too.

    Raises FileNotFoundError for a missing folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    found = Found()
    for path in sorted(path for path in folder.iterdir() if path.name not in known):
        if is_hidden(path.name):
            found.passed_over[f"{suffix_of(path)} (hidden)"] += 1
        elif path.is_dir():
            found.passed_over["(folder)"] += 1
        elif path.is_file() and kind_of(path) == kind:
            found.names.append(path.name)
        else:
            found.passed_over[suffix_of(path)] += 1
    return found


def told(read: int, passed_over: Mapping[str, int], /) -> str:
    """Say how many images are read and what is passed over, the most frequent suffixes first.

    >>> told(12, {".json": 1, ".txt": 2})
    '12 read, 3 passed over: .txt 2, .json 1'
    """
    by_number = sorted(passed_over.items(), key=lambda pair: (-pair[1], pair[0]))
    parts = [f"{suffix} {number}" for suffix, number in by_number[:MANY]]
    if len(by_number) > MANY:
        parts.append(f"{len(by_number) - MANY} other kinds {sum(number for _, number in by_number[MANY:])}")
    return f"{read} read, {sum(passed_over.values())} passed over: {', '.join(parts)}"


def suffix_of(entry: os.DirEntry[str] | Path, /) -> str:
    """Return how a name ends, in lower case; in words where it has no suffix or is no file."""
    suffix = os.path.splitext(entry.name)[1].lower() or "(no suffix)"
    if entry.is_file():
        return suffix
    return f"{suffix} (broken link)" if entry.is_symlink() else f"{suffix} (no file)"


def _files(
    folder: Path | str, below: str, above: tuple[tuple[int, int], ...], passed_over: Counter[str]
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield the files in a folder at any depth with their names; `above` are the folders on the way to it."""
    with os.scandir(folder) as entries:
        by_name = sorted(entries, key=lambda entry: entry.name)
    for entry in by_name:
        if is_hidden(entry.name):
            passed_over.update(f"{suffix} (hidden)" for suffix in _suffixes(entry))
        elif not entry.is_dir():
            yield below + entry.name, entry
        elif (identity := _identity(entry.stat())) in above:
            passed_over["(link to a folder above it)"] += 1
        else:
            yield from _files(entry.path, f"{below}{entry.name}/", (*above, identity), passed_over)


def _identity(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_dev, stat.st_ino


def _is_image(entry: os.DirEntry[str]) -> bool:
    """Whether a file is an image; a broken link of an image's name is one that cannot be read."""
    if os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:
        return entry.is_file() or entry.is_symlink()
    return entry.is_file() and image_format(head_of(entry.path)) is not None


def _suffixes(entry: os.DirEntry[str]) -> Iterator[str]:
    """Yield how each file ends in what is hidden; links out of it are not followed."""
    if not entry.is_dir(follow_symlinks=False):
        yield suffix_of(entry)
        return
    for _, _, names in os.walk(entry.path):
        for name in names:
            yield os.path.splitext(name)[1].lower() or "(no suffix)"
