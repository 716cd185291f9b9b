"""What all readers of labelled images share: finding files and class names, keeping some of the images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reliquant.files.bounded import read_bytes, read_json
from reliquant.images.dataset import Dataset
from reliquant.images.decoding import ImageFiles
from reliquant.images.formats import SUFFIXES
from reliquant.images.walking import Found, find_files

CLASS_FILES = ("classes.json", "classnames.txt")  # beside the images: what the numbers of labels mean
TEMPLATES = ["a photo of a {}"]


def class_names(root: Path, given: list[str] | None, /) -> list[str] | None:
    """Return the given class names, else those of `classes.json` (a list) or `classnames.txt` in the folder, else None.

    Blank lines at the end of `classnames.txt` are no names. Raises ValueError for a `classes.json` that is no list of
    strings, and for either file where it is no text.
    """
    if given is not None:
        return given
    try:
        if (path := root / "classes.json").is_file():
            names = read_json(path)
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise ValueError(f"{path}: must hold a list of class names")
            return names
        if (path := root / "classnames.txt").is_file():
            text = read_bytes(path).decode("utf-8-sig")
            return [line.strip() for line in text.rstrip().splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: {error}") from error
    return None


def existing(root: Path, files: list[str] | None, kind: Literal["parquet", "tar", "csv"], /) -> Found:
    """Return the named files of a folder (None: all of the kind, whatever their names, sorted), as paths below it.

    Raises FileNotFoundError naming a missing file, or the folder when it is missing or holds no such file.
    """
    found = Found(files) if files is not None else find_files(root, kind, known=CLASS_FILES)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    if not found.names:
        raise FileNotFoundError(f"{root}: holds no {SUFFIXES[kind][0]} file")
    for name in found.names:
        if not (root / name).is_file():
            raise FileNotFoundError(f"{root / name}: no such file")
    return found


def chosen(dataset: Dataset, index: NDArray[np.int64], /) -> Dataset:
    """Keep the images of a dataset whose numbers are in `index` (k,), in that order."""

    def part(values: list[str] | None) -> list[str] | None:
        return None if values is None else [values[i] for i in index]

    inner = dataset.read
    if isinstance(inner, ImageFiles):
        read = ImageFiles(lambda i: inner.open(int(index[i])))
    else:
        read = lambda i: inner(int(index[i]))  # noqa: E731
    return replace(
        dataset,
        labels=dataset.labels[index],
        names=[dataset.names[i] for i in index],
        captions=part(dataset.captions),
        groups=part(dataset.groups),
        all_captions=None if dataset.all_captions is None else [dataset.all_captions[i] for i in index],
        read=read,
    )


def thinned(dataset: Dataset, images: int | None, /) -> Dataset:
    """Keep so many images, evenly spread over the dataset (None: all); raise ValueError when there are fewer."""
    total = len(dataset.labels)
    if images is None:
        return dataset
    if not 1 <= images <= total:
        raise ValueError(f"images: {images} asked for; there are {total}")
    return chosen(dataset, np.arange(images) * total // images)
