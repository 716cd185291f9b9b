"""Folders of arrays: one `.npy` file for each of them, in parts where there are many; and those of clip-retrieval.

clip-retrieval (`clip-retrieval inference`) writes `img_emb/img_emb_0.npy`, ..., `text_emb/text_emb_0.npy`, ... and
`metadata/metadata_0.parquet`, ... with the columns `image_path` and `caption`. Its `text_emb` are of captions, one for
each image, and no classes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from reliquant.files.digests import DamagedFile
from reliquant.images.formats import head_of, is_hidden
from reliquant.stored.column import Column, joined
from reliquant.stored.layouts import npy, parquet

PART = re.compile(r"^(.*)_(\d+)$")
CAPTIONS = "caption_emb"  # what the embeddings of captions are called here
PATHS = "image_path"
LISTED = 8  # numbers of parts in a message


def columns(path: Path, other_ids: Sequence[str], /) -> tuple[dict[str, Column], tuple[str, ...]]:
    """Return the arrays of a folder by their names, and what was assumed.

    Where clip-retrieval's metadata have the column `image_path`, those of `other_ids` are left out. Raises ValueError
    for a folder without arrays, and for parts that are missing or do not fit together.
    """
    found = _arrays(path, "")
    said: list[str] = []
    for name in ("img_emb", "text_emb"):
        if not (path / name).is_dir():
            continue
        arrays = _arrays(path / name, name)
        if name == "text_emb":
            arrays = {CAPTIONS if key == name else key: column for key, column in arrays.items()}
            told = f"text_emb holds embeddings of captions, one an image, and is read as {CAPTIONS}, not as text"
            said.append(f"{path}: {told}, the classes (--names text={CAPTIONS} takes it)")
        found |= arrays
    if (path / "metadata").is_dir():
        found |= _metadata(path / "metadata", other_ids)
    if not found:
        raise ValueError(f"{path}: is a folder without .npy files; name the file of a table in it")
    return found, tuple(said)


def _arrays(folder: Path, only: str) -> dict[str, Column]:
    """Return the arrays of the .npy files in a folder, parts joined; `only` names the one that is looked for."""
    paths = [path for path in _files(folder) if head_of(path).startswith(b"\x93NUMPY")]
    parts = _parts(paths, folder)
    chosen = {name: files for name, files in parts.items() if not only or name == only}
    return {name: _joined(folder, name, files, npy.columns) for name, files in chosen.items()}


def _metadata(folder: Path, other_ids: Sequence[str]) -> dict[str, Column]:
    paths = [path for path in _files(folder) if head_of(path).startswith(b"PAR1")]
    parts = _parts(paths, folder).get("metadata", [])
    if not parts:
        return {}
    tables = [parquet.columns(part) for part in parts]
    names = [name for name in tables[0] if all(name in table for table in tables)]
    if PATHS in names:
        names = [name for name in names if name == PATHS or name not in other_ids]
    known = [name for name in names if all(table[name].given is not None for table in tables)]
    return {name: joined([table[name] for table in tables], f"{folder}: {name}") for name in known}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and not is_hidden(path.name))


def _parts(paths: Sequence[Path], folder: Path) -> Mapping[str, list[Path]]:
    """Return the files of each array by its name, by their numbers; raise ValueError where one is missing."""
    found: dict[str, dict[int, Path]] = {}
    for path in paths:
        match = PART.match(path.stem)
        name, number = (match[1], int(match[2])) if match and len(match[2]) < 9 else (path.stem, -1)
        if number in found.setdefault(name, {}):
            raise ValueError(f"{folder}: {found[name][number].name} and {path.name} are the same part of {name}")
        found[name][number] = path
    for name, numbered in found.items():
        numbers = sorted(numbered)
        if numbers != list(range(numbers[0], numbers[0] + len(numbers))) or numbers[0] > 1:
            listed = ", ".join(map(str, numbers[:LISTED])) + ", ..." * (len(numbers) > LISTED)
            told = f"{name}_{{{listed}}}"
            raise ValueError(
                f"{folder}: parts of {name} are missing: there are {told}; they go on from 0 without a gap"
            )
        if numbers[0] == -1 and len(numbers) > 1:
            raise ValueError(f"{folder}: {numbered[-1].name} and {numbered[0].name} are both {name}: whole, or a part?")
    return {name: [numbered[number] for number in sorted(numbered)] for name, numbered in found.items()}


def _joined(folder: Path, name: str, files: Sequence[Path], read: Callable[[Path], dict[str, Column]]) -> Column:
    columns = [next(iter(read(path).values())) for path in files]
    if not all(column.shape for column in columns) and len(columns) > 1:
        raise DamagedFile(f"{folder}: a part of {name} is a single number")
    return joined(columns, f"{folder}: {name}")
