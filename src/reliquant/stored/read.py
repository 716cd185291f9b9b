"""Read a table of embeddings, probabilities, logits or predictions, in whatever layout it was stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from reliquant.stored.column import Column
from reliquant.stored.layouts import safetensors
from reliquant.stored.synonyms import ours_of

NO_NAMES: Mapping[str, str] = MappingProxyType({})
OF_IMAGES = ("image", "label", "photograph", "id", "probabilities", "logits", "prediction", "confidence")


@dataclass(frozen=True)
class Table:
    """Hold the columns of a table by our names (`synonyms.SYNONYMS`), and what was assumed, a sentence each.

    `path` is as the user wrote it.
    """

    path: Path
    arrays: Mapping[str, Column]
    said: tuple[str, ...]

    def require(self, *names: str) -> None:
        """Raise ValueError with what is there unless the table has all the named columns."""
        for name in names:
            if name not in self.arrays:
                there = ", ".join(sorted(self.arrays)) or "none that is known by its name"
                told = f"--names {name}=NAME says which is it"
                raise ValueError(f"{self.path}: has no tensor {name!r}; there are {there} ({told})")

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


def read_table(path: Path, /, *, names: Mapping[str, str] = NO_NAMES) -> Table:
    """Read what a table holds, by its content; its rows are read when they are asked for.

    `names` says what ours are called in the file ({"image": "img_emb"}), where they have no usual name. Raises
    FileNotFoundError, DamagedFile where a file is truncated or of no layout that is read, and ValueError naming a
    column that is missing, that may be two of ours, or whose type is not read.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder; name a safetensors file in it")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    arrays, said = ours_of(safetensors.columns(path), str(path), names)
    return Table(path, arrays, said)
