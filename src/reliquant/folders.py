"""Labelled images in a tree of files: one folder a class."""

from __future__ import annotations

from pathlib import Path

from reliquant.images import Dataset
from reliquant.reading import decode, number

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def read_folders(
    root: Path, /, *, classes: list[str] | None, prompts: list[str] | None, templates: list[str]
) -> Dataset:
    """Read a class-per-folder tree; images may lie deeper, other files are passed over.

    `classes` lists the folders in the order of their labels (by default all, sorted), `prompts` what captions call
    them (by default the folder's name with spaces for underscores). Raises FileNotFoundError without the folder or a
    class of it, ValueError naming a folder outside `classes` or one without images.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    found = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not found:
        raise ValueError(f"{root}: holds no folders; one folder a class is expected")
    for name in classes or []:
        if name not in found:
            raise FileNotFoundError(f"{root / name}: no such folder, but {name!r} is among the classes")
    _, classes = number(found, classes, [str(root / name) for name in found])
    files = [(label, path) for label, name in enumerate(classes) for path in images_below(root / name)]
    labels, _ = number([classes[label] for label, _ in files], classes, [str(path) for _, path in files])
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
