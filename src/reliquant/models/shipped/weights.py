"""The trained checkpoints that the package ships, and the table that vouches for their bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch

from reliquant.files.artifacts import DamagedFile, load_tensors
from reliquant.files.bounded import read_json

FOLDER = Path(__file__).parent


def checkpoint_table(folder: Path = FOLDER, /) -> dict[str, dict[str, Any]]:
    """Read `table.json`: for each shipped checkpoint its sha256, size in bytes, recipe and FP32 accuracies."""
    return read_json(folder / "table.json")


def load_checkpoint(name: str, /, folder: Path = FOLDER) -> dict[str, torch.Tensor]:
    """Read the weights of a shipped checkpoint after a check of its sha256 against the table.

    Raises ValueError (unknown name), FileNotFoundError, DamagedFile (truncated or altered).
    """
    table = checkpoint_table(folder)
    if name not in table:
        raise ValueError(f"checkpoint {name!r} is unknown; there are {', '.join(sorted(table))}")
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; checkpoint {name!r} should lie there")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != table[name]["sha256"]:
        expected = f"{table[name]['bytes']} bytes, sha256 {table[name]['sha256'][:12]}..."
        raise DamagedFile(f"{path}: truncated or altered: {len(content)} bytes, but the table says {expected}")
    arrays, _ = load_tensors(path)
    return {key: torch.from_numpy(array) for key, array in arrays.items()}
