"""The lab's trained models, which reliquant-lab holds, and the table here that vouches for their bytes."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from reliquant.files.artifacts import DamagedFile, load_tensors
from reliquant.files.bounded import read_json

FOLDER = Path(__file__).parent
DATA = "reliquant_lab"  # what reliquant-lab installs; in a clone it lies beside this package


def checkpoint_table() -> dict[str, dict[str, Any]]:
    """Read `table.json`: for each of the lab's models its sha256, size in bytes, recipe and FP32 accuracies."""
    return read_json(FOLDER / "table.json")


def weights_folder() -> Path:
    """Return the folder of the trained models; FileNotFoundError where reliquant-lab is not installed."""
    found = find_spec(DATA)
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError("the lab's trained models are not installed: pip install 'reliquant[lab]'")
    return Path(found.submodule_search_locations[0])


def load_checkpoint(name: str, /, folder: Path | None = None) -> dict[str, torch.Tensor]:
    """Read the weights of one of the lab's models after a check of its sha256 against the table.

    They lie in `folder`, or where reliquant-lab is installed.
    Raises ValueError (unknown name), FileNotFoundError, DamagedFile (truncated or altered).
    """
    table = checkpoint_table()
    if name not in table:
        raise ValueError(f"checkpoint {name!r} is unknown; there are {', '.join(sorted(table))}")
    path = (folder or weights_folder()) / f"{name}.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; checkpoint {name!r} should lie there")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != table[name]["sha256"]:
        expected = f"{table[name]['bytes']} bytes, sha256 {table[name]['sha256'][:12]}..."
        raise DamagedFile(f"{path}: truncated or altered: {len(content)} bytes, but the table says {expected}")
    arrays, _ = load_tensors(path)
    return {key: torch.from_numpy(array) for key, array in arrays.items()}
