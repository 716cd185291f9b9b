"""Open what a person names on a command line: a model, a variant of it, or labelled images."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from reliquant import plugins
from reliquant.images.prepare import Prepared, load, prepare
from reliquant.models.clip import Clip
from reliquant.models.files import load_model
from reliquant.models.shipped.weights import checkpoint_table
from reliquant.study.config import grid_problems, with_grids

READERS = {".parquet": "parquet", ".tar": "webdataset", "": "image_folder"}  # by how a path ends


def tower_entry(word: str, /) -> dict[str, Any]:
    """Return the tower entry of a shipped checkpoint, `hf-hub:owner/name` or `architecture[/tag or file]`."""
    if word in checkpoint_table():
        return {**checkpoint_table()[word]["tower"], "pretrained": word}
    if ":" in word:
        return {"tower": "openclip", "architecture": word}
    architecture, _, pretrained = word.partition("/")
    return {"tower": "openclip", "architecture": architecture, **({"pretrained": pretrained} if pretrained else {})}


def open_model(word: str, /) -> Clip:
    """Load a model: a file written by this project, or what `tower_entry` understands."""
    if word.endswith(".safetensors"):
        return load_model(Path(word))[0]
    return plugins.load("tower", tower_entry(word))(None)


def scheme_entry(word: str, precision: str, /) -> dict[str, Any]:
    """Read `rtn` or `{quantizer: lsq, lr: 1e-5}` and add the grids of a precision; raise ConfigError if it is wrong."""
    entry = yaml.safe_load(word) if word.lstrip().startswith("{") else {"quantizer": word}
    problems = list(grid_problems(entry))
    entry = entry if problems else with_grids(entry, precision)
    if problems := problems or plugins.check("quantizer", entry):
        raise plugins.ConfigError(f"--scheme: {p}" for p in problems)
    return entry


def dataset_entry(word: str, /) -> tuple[dict[str, Any], Path]:
    """Return the dataset entry and root for a path (.parquet, .tar or a folder) or a YAML entry with its `root`."""
    if word.lstrip().startswith("{"):
        entry = dict(yaml.safe_load(word))
        root = Path(entry.pop("root", "."))
        if problems := plugins.check("dataset", entry):
            raise plugins.ConfigError(f"--data: {p}" for p in problems)
        return entry, root
    path = Path(word)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    if path.suffix not in READERS:
        raise ValueError(
            f"{path}: must be a folder, .parquet or .tar, or an entry like '{{dataset: cifar10, root: ...}}'"
        )
    if path.is_dir():
        return {"dataset": "image_folder"}, path
    return {"dataset": READERS[path.suffix], "files": [path.name]}, path.parent


def open_images(word: str, form: str, /) -> Prepared:
    """Decode images into memory in the form that a model wants, as `prepare` does on disk."""
    entry, root = dataset_entry(word)
    dataset = plugins.load("dataset", entry)(root)
    with TemporaryDirectory(prefix="reliquant-") as folder:
        prepare(dataset, Path(folder), form=form, entry=entry)
        found = load(Path(folder))
        return Prepared(found.images[:], found.labels, found.meta)
