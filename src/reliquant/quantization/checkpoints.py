"""Where an interrupted training goes on: its latest state, in a folder that is kept until the variant is written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from reliquant.files.alone import alone_until_done, require_folder
from reliquant.files.artifacts import DamagedFile, load_tensors, require_words, save_tensors
from reliquant.files.digests import digest_of
from reliquant.progress import say

KEPT = "a training keeps its states"  # in its folder
STATE = "latest.safetensors"
LONGEST = 80  # characters of a value in a message


@dataclass(frozen=True)
class Checkpoints:
    """Hold a folder (None: keep nothing), how many iterations lie between saves, and what identifies the run.

    `run` must name all that the result depends on (`identity.run_identity`): a state of another run is never taken.
    `snapshot` is called with the iterations done and a frozen copy of the model as it then is, so that one run shows
    accuracy against iterations; `snapshots` are the iterations whose files (`snapshot_path`) lie in the folder.
    """

    folder: Path | None = None
    every: int = 50
    run: Mapping[str, Any] | None = None
    snapshot: Callable[[int, nn.Module], None] | None = None
    snapshots: Sequence[int] = ()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other process makes the same variant, and keep others waiting until this one's is written.

        Raises DamagedFile where something else lies in the folder's place.
        """
        if self.folder is None:
            yield
            return
        with alone_until_done(self.folder, "trains in", KEPT):
            yield

    @property
    def _path(self) -> Path:
        return Path(self.folder or "", STATE)

    def snapshot_path(self, iteration: int, /) -> Path:
        """Return where the snapshot after so many iterations lies until the run is over."""
        return Path(self.folder or "", f"{iteration}.safetensors")

    @property
    def name_of_run(self) -> str:
        """Return what a snapshot's header must say of its `run`, beside its `iteration`: a digest of `run`."""
        return digest_of({"run": self.run})

    def is_due(self, iteration: int, /) -> bool:
        """Whether to save after this many iterations."""
        return self.folder is not None and iteration > 0 and iteration % self.every == 0

    def save(self, iteration: int, state: Mapping[str, torch.Tensor], /) -> None:
        """Replace the latest state, whole or not at all."""
        arrays = {name: value.detach().cpu().numpy() for name, value in state.items()}
        save_tensors(self._path, arrays, {"iteration": iteration, "run": self.run})

    def kept(self) -> int:
        """Return after how many iterations the latest state was saved, 0 where there is none; it is not checked."""
        try:
            return 0 if self.folder is None else int(load_tensors(self._path)[1]["iteration"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def latest(self) -> tuple[int, dict[str, torch.Tensor]]:
        """Return the iterations done and the state after them; (0, {}) if none of this very run is kept.

        What is kept of another run, or damaged, is deleted with its snapshots; a line says why training starts anew.
        Raises DamagedFile where something else lies in the folder's place.
        """
        if self.folder is None or not os.path.lexists(self.folder):
            return 0, {}
        require_folder(self.folder, KEPT)
        try:
            iteration, state = self._read()
        except FileNotFoundError:
            self.clear()  # killed before its first save: what lies here may be of anybody
            return 0, {}
        except (OSError, ValueError) as error:
            say("training", f"starts anew: {error}")
            self.clear()
            return 0, {}
        say("training", f"goes on after {iteration} iterations, from {self._path}")
        return iteration, state

    def _read(self) -> tuple[int, dict[str, torch.Tensor]]:
        """Read the latest state and check the snapshots before it; raise ValueError where they are not of this run."""
        arrays, header = load_tensors(self._path)
        require_words(header, {"iteration": int}, f"{self._path}: its header")
        self._require_own(self._path, header.get("run"))
        if header["iteration"] < 1:
            raise DamagedFile(f"{self._path}: is of iteration {header['iteration']}")
        for iteration in self.snapshots:
            if iteration < header["iteration"]:
                self._require_own_snapshot(self.snapshot_path(iteration), iteration)
        return header["iteration"], {name: torch.from_numpy(array) for name, array in arrays.items()}

    def _require_own_snapshot(self, path: Path, iteration: int) -> None:
        header = load_tensors(path)[1]
        if (header.get("run"), header.get("iteration")) != (self.name_of_run, iteration):
            raise ValueError(f"{path} is a snapshot of another run, or of another iteration")

    def _require_own(self, path: Path, run: Any) -> None:
        if run != self.run:
            told = "; ".join(differences(run, self.run))
            raise ValueError(f"{path} is of another run ({told})")

    def clear(self) -> None:
        """Forget the state, once the result is safe."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def differences(then: Any, now: Any, /, name: str = "") -> Iterator[str]:
    """Say in which words two JSON values differ, a text each.

    >>> list(differences({"seed": 0, "pairs": {"sha256": "ab"}}, {"seed": 1, "pairs": {"sha256": "ab"}}))
    ['seed was 0, now 1']
    """
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for word in sorted({*then, *now}, key=str):
            yield from differences(then.get(word), now.get(word), f"{name}.{word}" if name else str(word))
    elif then != now:
        yield f"{name or 'it'} was {str(then)[:LONGEST]}, now {str(now)[:LONGEST]}"
