"""Labelled images in a tree of files: one folder per class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reliquant.images.dataset import Dataset
from reliquant.images.reading import decode, number

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def read_folders(
    root: Path,
    /,
    *,
    classes: list[str] | None,
    prompts: list[str] | None,
    templates: list[str],
    others: bool = False,
) -> Dataset:
    """Read a tree with one folder per class; images may lie deeper in it, and other files are passed over.

    `classes` lists the folders in the order of their labels (by default all, sorted), `prompts` what captions call
    them (by default the folder's name with spaces for underscores). With `others`, folders that are not among the
    classes are passed over. Raises FileNotFoundError when the folder or that of a class is missing, ValueError naming
    a folder outside `classes` or one without images.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    folders = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        raise ValueError(f"{root}: holds no folders; one folder per class is expected")
    for name in classes or []:
        if name not in folders:
            raise FileNotFoundError(f"{root / name}: no such folder, but {name!r} is among the classes")
    if others and classes:
        asked = set(classes)
        folders = [name for name in folders if name in asked]
    _, classes = number(folders, classes, [str(root / name) for name in folders])
    files = [(name, path) for name in classes for path in images_below(root / name)]
    labels, _ = number([name for name, _ in files], classes, [str(path) for _, path in files])
    prompts = [name.replace("_", " ") for name in classes] if prompts is None else prompts
    if len(prompts) != len(classes):
        raise ValueError(f"prompts: {len(prompts)} names for the {len(classes)} class folders of {root}")
    names = [path.relative_to(root).as_posix() for _, path in files]
    return Dataset(
        classes=prompts,
        templates=templates,
        labels=labels,
        read=lambda i: decode(files[i][1], str(files[i][1])),
        names=names,
    )


def images_below(folder: Path, /) -> list[Path]:
    """List the image files of a folder and of the folders in it, sorted; raise ValueError if there are none."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not paths:
        raise ValueError(f"{folder}: holds no images")
    return paths


def expect(
    dataset: Dataset, where: Path, /, *, classes: int, each: int | None = None, total: int | None = None
) -> Dataset:
    """Return the dataset if it holds what its publisher says: so many `classes` with images, so many images `each`.

    `total` is the number of images of all classes. Raises ValueError naming the folder, what is expected, and the first
    classes that differ.
    """
    counts = np.bincount(dataset.labels[dataset.labels >= 0], minlength=len(dataset.classes))
    filled, images = int((counts > 0).sum()), len(dataset.labels)
    wrong = [f"{dataset.classes[i]} {counts[i]}" for i in np.flatnonzero((counts > 0) & (counts != (each or counts)))]
    if filled != classes or wrong or images != (total or images):
        expected = f"{classes} classes{f' of {each} images' if each else ''}{f', {total} images' if total else ''}"
        first = f"; wrong: {', '.join(wrong[:5])}" if wrong else ""
        raise ValueError(f"{where}: {expected} are expected; there are {filled} with {images} images{first}")
    return dataset


def placed(folder: Path, how: str, /) -> Path:
    """Return a folder that the user puts in place; raise FileNotFoundError that says how to get it."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder. {how}")
    return folder


def unlabelled(root: Path, /, *, templates: list[str], total: int) -> Dataset:
    """Read all images below a folder, without classes; raise ValueError unless there are `total`."""
    paths = images_below(root)
    if len(paths) != total:
        raise ValueError(f"{root}: {total} images are expected; there are {len(paths)}")
    names = [path.relative_to(root).as_posix() for path in paths]
    labels = np.full(len(paths), -1, np.int64)
    return Dataset([], templates, labels, lambda i: decode(paths[i], str(paths[i])), names)
