"""Where an interrupted training goes on: its latest state, in a folder that is kept until the variant is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from reliquant.artifacts import load_tensors, read_header, require_words, save_tensors


@dataclass(frozen=True)
class Checkpoints:
    """Hold a folder (None: keep nothing), how many iterations lie between saves, and what identifies the run.

    `snapshot` is called with the iterations done and a frozen copy of the model as it then is, so that one run shows
    accuracy against iterations.
    """

    folder: Path | None = None
    every: int = 50
    run: Mapping[str, Any] | None = None
    snapshot: Callable[[int, nn.Module], None] | None = None

    @property
    def _path(self) -> Path:
        return self.folder / "latest.safetensors"

    def is_due(self, iteration: int, /) -> bool:
        """Whether to save after this many iterations."""
        return self.folder is not None and iteration > 0 and iteration % self.every == 0

    def save(self, iteration: int, state: Mapping[str, torch.Tensor], /) -> None:
        """Replace the latest state, whole or not at all."""
        arrays = {name: value.detach().cpu().numpy() for name, value in state.items()}
        save_tensors(self._path, arrays, {"iteration": iteration, "run": self.run})

    def latest(self) -> tuple[int, dict[str, torch.Tensor]]:
        """Return the iterations done and the state after them; (0, {}) if none of this very run is kept."""
        if self.folder is None or not self._path.is_file() or read_header(self._path).get("run") != self.run:
            return 0, {}
        arrays, header = load_tensors(self._path)
        require_words(header, {"iteration": int}, f"{self._path}: its header")
        return header["iteration"], {name: torch.from_numpy(array) for name, array in arrays.items()}

    def clear(self) -> None:
        """Forget the state, once the result is safe."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
