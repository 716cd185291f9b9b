"""Rows of layers that are tried one at a time, kept as they come, so that an interrupted run goes on where it was."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from reliquant.files.alone import alone_until_done
from reliquant.files.artifacts import read_facts, save_frame
from reliquant.files.digests import digest_of
from reliquant.files.stored_frames import read_parquet
from reliquant.progress import say


@dataclass(frozen=True)
class KeptRows:
    """Hold a folder with a file for each layer (or block) that has been tried, and what identifies the run.

    `run` must name all that the rows depend on (`one_layer.identity`): rows of another run are never taken.
    """

    folder: Path
    run: Mapping[str, Any]

    @classmethod
    def beside(cls, output: Path, run: Mapping[str, Any], /) -> KeptRows:
        """Return the rows that are kept in a folder beside the file in which all will be."""
        return cls(output.with_suffix(".layers"), run)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other process tries the same layers, and keep others waiting until the block has ended.

        Raises DamagedFile where something else lies in the folder's place.
        """
        with alone_until_done(self.folder, "tries layers in", "rows of layers are kept"):
            yield

    def of(self, names: Collection[str], /) -> dict[str, pl.DataFrame]:
        """Return what is kept of layers (or blocks) by name, and say of how many."""
        found = {name: self.found(name) for name in names}
        sound = {name: rows for name, rows in found.items() if rows is not None}
        if sound:
            told = f"{len(sound)} of {len(names)} are kept from an interrupted run"
            say("sensitivity", f"{told}, in {self.folder}")
        return sound

    def found(self, name: str, /) -> pl.DataFrame | None:
        """Return the rows that this very run has kept of a layer (or block); None, and a line, if none are sound."""
        path = self._path(name)
        if not os.path.lexists(path):
            return None
        try:
            rows, facts = read_parquet(path), read_facts(path)
        except (OSError, ValueError) as error:
            say("sensitivity", f"{name} is tried again: {error}")
            return None
        if facts.get("run") != self._name_of_run or facts.get("group") != name:
            say("sensitivity", f"{name} is tried again: {path} is of another run")
            return None
        return rows

    def keep(self, name: str, rows: pl.DataFrame, /) -> None:
        """Write the rows of a layer (or block), whole or not at all."""
        save_frame(self._path(name), rows, {"run": self._name_of_run, "group": name})

    def clear(self) -> None:
        """Forget all rows, once they are safe in one file."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _name_of_run(self) -> str:
        return digest_of({"run": self.run})

    def _path(self, name: str) -> Path:
        return self.folder / f"{digest_of({'group': name})[:32]}.parquet"
