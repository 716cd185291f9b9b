"""Open the images that a person names, in a notebook or on a command line."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from reliquant import plugins
from reliquant.images.prepare import Prepared, load, prepare

READERS = {".parquet": "parquet", ".tar": "webdataset", "": "image_folder"}  # by how a path ends


def dataset_entry(word: str, /) -> tuple[dict[str, Any], Path]:
    """Return the dataset entry and root for a path (.parquet, .tar or a folder) or a YAML entry with its `root`."""
    if word.lstrip().startswith("{"):
        entry = dict(yaml.safe_load(word))
        root = Path(entry.pop("root", "."))
        if problems := plugins.check("dataset", entry):
            raise plugins.ConfigError(f"{word}: {problem}" for problem in problems)
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
    """Decode images into memory in the form that a model wants (`Clip.form`), as `prepare` does on disk.

    `word` is a folder of class folders, a .parquet or .tar file, or a dataset entry in YAML with its `root`.
    """
    entry, root = dataset_entry(word)
    dataset = plugins.load("dataset", entry)(root)
    with TemporaryDirectory(prefix="reliquant-") as folder:
        prepare(dataset, Path(folder), form=form, entry=entry)
        found = load(Path(folder))
        return Prepared(found.images[:], found.labels, found.meta)
