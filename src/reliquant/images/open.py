"""Open the images that a person names, in a notebook or on a command line: all that a study's config can name, too."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Literal, NamedTuple

import yaml

from reliquant import plugins
from reliquant.files import scratch
from reliquant.files.bounded import load_yaml
from reliquant.images.dataset import Dataset, require_labels
from reliquant.images.formats import IMAGE_SUFFIXES, described, head_of, is_hidden, kind_of
from reliquant.images.prepare import Prepared, load, prepare
from reliquant.study.config import own_words
from reliquant.study.entries import entry_problems
from reliquant.study.form import NATIVE

Role = Literal["labelled", "ood", "pairs"]  # what images are for: to be classified, to be told apart, to calibrate on
READERS = {"parquet": "parquet", "tar": "webdataset", "csv": "csv", "text": "csv"}  # by what a file holds
ALLOWED = (
    "a folder of images, a parquet file, a WebDataset tar, a .csv of paths, or an entry such as"
    " '{dataset: cifar10, root: data/cifar10}'"
)
WITH_CAPTIONS = "pairs have captions: a parquet file, a tar or a .csv with both"


class Named(NamedTuple):
    """Say where the images lie that a word names: the dataset's own entry, its folder, and what to call it."""

    entry: dict[str, Any]
    root: Path
    name: str
    native: bool = False


def open_images(
    word: str | Mapping[str, Any],
    form: str,
    /,
    *,
    role: Role | None = None,
    unreadable: Literal["stop", "skip"] = "stop",
) -> Prepared:
    """Decode images into memory in the form that a model wants (`Clip.form`), as `prepare` does on disk.

    `word` is a folder of class folders, a parquet file, a WebDataset tar, a CSV of paths, or a dataset's entry as in a
    study's config, with its `root`: in YAML, or as a mapping. The `role` says what the images are for: `labelled` ones
    need classes, `pairs` captions, and images out of distribution (`ood`) neither, so that any folder will do. An
    unreadable image stops it, or is skipped and named in `meta`. What was passed over or assumed is in `meta`, and said
    on stderr. Raises ValueError saying what the path holds, and what the images lack for their role.
    """
    named = named_images(word, role)
    dataset = plugins.load("dataset", named.entry)(named.root)
    if unreadable == "stop":
        dataset.read(0)  # what is wrong with all images is told before what is wrong with their labels
    _check_role(dataset, role, named.name)
    with scratch.folder(Path(gettempdir()), "reliquant", private=True) as folder:
        words = {"form": NATIVE if named.native else form, "entry": named.entry, "unreadable": unreadable}
        prepare(dataset, folder, **words, name=named.name)
        found = load(folder)
        return replace(found, images=found.images[:])


def named_images(word: str | Mapping[str, Any], role: Role | None = None, /) -> Named:
    """Return the dataset's entry, root and name for a path or an entry (see `open_images`).

    Raises ConfigError for a wrong entry, FileNotFoundError and ValueError for a path that is not there or holds other
    things.
    """
    if isinstance(word, Mapping):
        return _of_entry(word, str(dict(word)), role)
    if word.lstrip().startswith("{"):
        try:
            entry = load_yaml(word)
        except yaml.YAMLError as error:
            raise plugins.ConfigError([f"{word}: no YAML: {' '.join(str(error).split())}"]) from error
        return _of_entry(entry, word, role)
    if not word.strip():
        raise ValueError(f"images: {word!r} names nothing; it must be {ALLOWED}")
    path = Path(word).expanduser()
    kind = kind_of(path)
    if kind == "folder":
        return Named(_entry_of_folder(path, role), path, os.path.basename(os.path.abspath(path)))
    if kind not in READERS:
        raise ValueError(f"{path}: is {_what(path)}; it must be {ALLOWED}")
    return Named({"dataset": READERS[kind], "files": [path.name]}, path.parent, path.stem)


def _of_entry(given: Any, word: str, role: Role | None) -> Named:
    if not isinstance(given, Mapping) or not isinstance(given.get("root", "."), str):
        raise plugins.ConfigError([f"{word}: must be a mapping such as {{dataset: cifar10, root: data/cifar10}}"])
    entry = {key: value for key, value in given.items() if key != "root"}
    if problems := list(entry_problems("datasets", entry, {})):
        raise plugins.ConfigError(f"{word}: {problem}" for problem in problems)
    root = Path(given.get("root", ".")).expanduser() / entry.get("folder", "")
    own = own_words("datasets", entry)
    if role == "ood" and own["dataset"] == "image_folder":
        own = {"classes": False} | own
    name = root.name if "root" in given else str(own["dataset"])
    return Named(own, root, name, bool(entry.get("native", False)))


def _entry_of_folder(folder: Path, role: Role | None) -> dict[str, Any]:
    """Return the entry of the plugin that reads what lies in a folder itself: tars, parquet files, or images."""
    kinds = set()
    for path in folder.iterdir():
        if not is_hidden(path.name) and path.suffix.lower() not in IMAGE_SUFFIXES and path.is_file():
            kinds.add(kind_of(path))
    kinds &= {"tar", "parquet"}
    if len(kinds) > 1:
        raise ValueError(f"{folder}: holds tars and parquet files: name one, or say which with an entry's `files`")
    if kinds:
        return {"dataset": READERS[kinds.pop()]}
    if role == "pairs":
        raise ValueError(f"{folder}: a folder of image files has no captions; {WITH_CAPTIONS}")
    return {"dataset": "image_folder"} | ({"classes": False} if role == "ood" else {})


def _what(path: Path) -> str:
    """Say what a path is that is neither a folder nor a table nor a tar."""
    return described(head_of(path)) if path.is_file() else "no file"


def _check_role(dataset: Dataset, role: Role | None, name: str) -> None:
    """Raise ValueError where images lack what they are for."""
    if role == "pairs" and dataset.captions is None:
        problem = dataset.caption_problem or "has no captions"
        raise ValueError(f"{name}: {problem}; {WITH_CAPTIONS}")
    if role == "labelled":
        require_labels(dataset.classes, dataset.labels, dataset.label_problem, name)
