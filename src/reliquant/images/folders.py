"""Images in a tree of files: one folder per class, or none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reliquant.images.dataset import Dataset
from reliquant.images.decoding import ImageFiles, opened
from reliquant.images.formats import is_hidden
from reliquant.images.numbering import number, odd_names
from reliquant.images.reading import class_names
from reliquant.images.walking import Found, find_images, told
from reliquant.study.prompts import class_problems

SPLITS = frozenset(["train", "training", "val", "valid", "validation", "test", "testing"])  # never all the classes
WORDNET_ID = re.compile(r"n\d{8}")
OUTSIDE = "(image outside the class folders)"


def read_folders(
    root: Path,
    /,
    *,
    classes: list[str] | None,
    prompts: list[str] | None,
    templates: list[str],
    others: bool = False,
) -> Dataset:
    """Read a tree with one folder per class; images may lie deeper in it, and what is no image is counted.

    `classes` lists the folders in the order of their labels (by default all, sorted), `prompts` what captions call
    them (by default the folder's name with spaces for underscores). With `others`, folders that are not among the
    classes are passed over. Raises FileNotFoundError when the folder or that of a class is missing, ValueError naming
    a folder outside `classes` or one without images, two folders that captions call the same, and WordNet ids without
    `prompts`.
    """
    found = find_images(root)
    chosen = classes is None and prompts is None
    classes = _class_folders(root, classes, others)
    if chosen:
        prompts = _meant_by_numbers(root, classes)
    by_class: dict[str, list[str]] = {folder: [] for folder in classes}
    for name in found.names:
        folder, slash, _ = name.partition("/")
        if not slash:
            found.passed_over[OUTSIDE] += 1
        elif folder in by_class:
            by_class[folder].append(name)
    for folder, names in by_class.items():
        if not names:
            raise _no_images(root / folder)
    if prompts is None:
        if all(WORDNET_ID.fullmatch(folder) for folder in classes):
            how = "read ImageNet's by `{dataset: imagenet}`, or say with `prompts` what captions call them"
            raise ValueError(f"{root}: its folders are WordNet ids such as {classes[0]}, which no caption says: {how}")
        prompts = [folder.replace("_", " ") for folder in classes]
        for problem in class_problems(prompts):
            raise ValueError(f"{root}: {problem}")
    if len(prompts) != len(classes):
        raise ValueError(f"prompts: {len(prompts)} names for the {len(classes)} class folders of {root}")
    labels = np.repeat(np.arange(len(classes)), [len(names) for names in by_class.values()])
    listed = [name for names in by_class.values() for name in names]
    dataset = _of_files(root, Found(listed, found.passed_over), labels, prompts, templates)
    return replace(dataset, assumed=odd_names(prompts) + (_deeper(listed) if chosen else ()))


def _meant_by_numbers(root: Path, folders: list[str]) -> list[str] | None:
    """Return what folders that are called by numbers hold, as a file beside them says; None for others.

    Raises ValueError naming a number that the file does not reach.
    """
    if not all(folder.isdecimal() for folder in folders) or (known := class_names(root, None)) is None:
        return None
    for folder in folders:
        if int(folder) >= len(known):
            raise ValueError(f"{root / folder}: class {folder} is outside the {len(known)} classes that its file names")
    prompts = [known[int(folder)] for folder in folders]
    for problem in class_problems(prompts):
        raise ValueError(f"{root}: {problem}")
    return prompts


def _deeper(names: list[str]) -> tuple[str, ...]:
    """Say which folders are taken for classes where none holds an image itself, but all hold folders of them."""
    if not all(name.count("/") > 1 for name in names):
        return ()
    outer, inner = names[0].split("/")[:2]
    return (f"its classes are the outer folders, such as {outer!r}, not those in them, such as {inner!r}",)


def _class_folders(root: Path, classes: list[str] | None, others: bool) -> list[str]:
    """Return the folders of the classes, in the order of their labels."""
    here = root.resolve()
    folders = []
    for path in sorted(root.iterdir()):
        if path.is_dir() and not is_hidden(path.name) and not here.is_relative_to(path.resolve()):
            folders.append(path.name)
    if not folders:
        raise ValueError(
            f"{root}: holds no folders; one folder per class is expected, or, for images out of distribution,"
            " `classes: false`"
        )
    if classes is None:
        if SPLITS.issuperset(folders):
            raise ValueError(f"{root}: {', '.join(folders)} are splits and no classes: give one of these folders")
        return folders
    for name in classes:
        if name not in folders:
            raise FileNotFoundError(f"{root / name}: no such folder, but {name!r} is among the classes")
    if not others:
        number(folders, classes, [str(root / name) for name in folders])
    return classes


def _of_files(root: Path, found: Found, labels: NDArray[np.int64], classes: list[str], templates: list[str]) -> Dataset:
    """Return the dataset of the files with these names below a folder."""
    paths = [root / name for name in found.names]
    return Dataset(
        classes=classes,
        templates=templates,
        labels=labels,
        read=ImageFiles(lambda i: opened(paths[i], str(paths[i]))),
        names=found.names,
        caption_problem="image files in folders have no captions",
        passed_over=found.passed_over,
    )


def images_below(folder: Path, /) -> list[Path]:
    """List the image files of a folder and of the folders in it, sorted; raise ValueError if there are none."""
    found = find_images(folder)
    if not found.names:
        raise _no_images(folder, found.passed_over)
    return [folder / name for name in found.names]


def _no_images(folder: Path, passed_over: Mapping[str, int] | None = None) -> ValueError:
    others = find_images(folder).passed_over if passed_over is None else passed_over
    return ValueError(f"{folder}: holds no images{f' ({told(0, others)})' if others else ''}")


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


def unlabelled(root: Path, /, *, templates: list[str], total: int | None = None) -> Dataset:
    """Read all images below a folder, without classes; raise ValueError unless there are `total` (None: any)."""
    found = find_images(root)
    if not found.names:
        raise _no_images(root, found.passed_over)
    if len(found.names) != (total or len(found.names)):
        others = f" ({told(len(found.names), found.passed_over)})" if found.passed_over else ""
        raise ValueError(f"{root}: {total} images are expected; there are {len(found.names)}{others}")
    labels = np.full(len(found.names), -1, np.int64)
    return replace(_of_files(root, found, labels, [], templates), label_problem="its images are read without classes")
