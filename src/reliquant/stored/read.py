"""Read a table of embeddings, probabilities, logits or predictions, in whatever layout it was stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from reliquant.files.digests import DamagedFile
from reliquant.files.stored_frames import errors_named
from reliquant.images.formats import SUFFIXES, described, head_of
from reliquant.stored.column import Column
from reliquant.stored.layouts import csv, faiss, folder, npy, npz, parquet, safetensors
from reliquant.stored.synonyms import SYNONYMS, ours_of
from reliquant.stored.unknown import there

BY_CONTENT: tuple[tuple[Callable[[bytes], bool], Callable[[Path], dict[str, Column]]], ...] = (
    (lambda head: head.startswith(b"\x93NUMPY"), npy.columns),
    (lambda head: head.startswith((b"PK\x03\x04", b"PK\x05\x06")), npz.columns),
    (lambda head: head.startswith(b"PAR1"), parquet.columns),
    (faiss.begins_an_index, faiss.columns),
)
NO_NAMES: Mapping[str, str] = MappingProxyType({})
KINDS = ("probabilities", "logits", "image", "prediction")  # what answers are made of: the first that is there
OF_IMAGES = ("image", "label", "photograph", "id", "probabilities", "logits", "prediction", "confidence")


@dataclass(frozen=True)
class Table:
    """Hold the columns of a table by our names (`synonyms.SYNONYMS`), and what was assumed, a sentence each.

    `path` is as the user wrote it; `others` are the columns that are none of ours, by their own names.
    """

    path: Path
    arrays: Mapping[str, Column]
    said: tuple[str, ...]
    others: Mapping[str, Column] = field(default_factory=dict)

    def require(self, *names: str) -> None:
        """Raise ValueError with what is there unless the table has all the named columns."""
        for name in names:
            if name not in self.arrays:
                raise ValueError(f"{self.path}: has no {name!r}; {there(self.arrays, self.others, name)}")

    def require_one(self, *names: str) -> None:
        """Raise ValueError with what is there unless the table has one of the named columns."""
        if not any(name in self.arrays for name in names):
            wanted = "image" if "image" in names else names[0]
            told = there(self.arrays, self.others, wanted)
            raise ValueError(f"{self.path}: has none of {', '.join(names)}; {told}")

    def rows(self) -> int:
        """Return of how many images the table is; raise ValueError where its columns differ in that."""
        counts = {name: len(self.arrays[name]) for name in OF_IMAGES if name in self.arrays}
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{count:,} of {name}" for name, count in counts.items())
            raise ValueError(f"{self.path}: columns differ in their number of rows: {told}")
        return next(iter(counts.values()), 0)

    def taken(self, rows: NDArray[np.integer], /) -> Table:
        """Return the table of these images, in this order; nothing is read."""
        arrays = {name: c.taken(rows) if name in OF_IMAGES else c for name, c in self.arrays.items()}
        return replace(self, arrays=arrays)


def read_table(path: Path, /, *, names: Mapping[str, str] = NO_NAMES, where_there: bool = False) -> Table:
    """Read what a table holds, by its content; its rows are read when they are asked for.

    Read are safetensors, .npz, .npy (named by its file), parquet, CSV, flat indexes of FAISS, and folders of .npy
    files, those of clip-retrieval too. `names` says what ours are called there ({"image": "img_emb"}), where they have
    no usual name; with `where_there` those that are not there are passed over. Raises FileNotFoundError, DamagedFile
    where a file is truncated or of no layout that is read, and ValueError naming a column that is missing, that may be
    two of ours, or whose type is not read.
    """
    with errors_named(path):
        found, said = _columns(path)
        if where_there:
            names = {ours: theirs for ours, theirs in names.items() if theirs in found}
        arrays, told = ours_of(found, str(path), names)
    taken = {id(column) for column in arrays.values()}
    others = {name: found[name] for name in sorted(found) if id(found[name]) not in taken}
    return Table(path, arrays, (*said, *told), others)


def _columns(path: Path) -> tuple[dict[str, Column], tuple[str, ...]]:
    """Return the columns of a table by their own names, and what was assumed."""
    if path.is_dir():
        return folder.columns(path, SYNONYMS["id"])
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    if not path.is_file():
        raise ValueError(f"{path}: is no file and no folder")
    head = head_of(path)
    for begins, read in BY_CONTENT:
        if begins(head):
            return read(path), ()
    if path.suffix.lower() == ".safetensors" or head[8:9] == b"{":
        return safetensors.columns(path), ()
    if path.suffix.lower() in SUFFIXES["csv"] or described(head) == "text":
        return csv.columns(path), ()
    known = "safetensors, .npz, .npy, parquet, CSV, flat indexes of FAISS and folders of .npy files are read"
    raise DamagedFile(f"{path}: {described(head)}, no table: {known}")
