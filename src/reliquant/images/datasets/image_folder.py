"""Read a tree of image files, one folder per class: ImageNet's, torchvision's ImageFolder's, your own."""

from __future__ import annotations

from pathlib import Path

from reliquant.images.dataset import Dataset
from reliquant.images.folders import read_folders
from reliquant.images.reading import TEMPLATES, thinned


def dataset(
    root: Path,
    /,
    *,
    split: str = "",
    classes: list[str] | None = None,
    prompts: list[str] | None = None,
    templates: list[str] | None = None,
    images: int | None = None,
) -> Dataset:
    """Read the class folders of `root/split`, by default all, sorted.

    `classes` lists the folders in the order of their labels, `prompts` what captions call them (by default the
    folder's name with spaces for underscores), `images` keeps that many, evenly spread.
    """
    all_images = read_folders(root / split, classes=classes, prompts=prompts, templates=templates or TEMPLATES)
    return thinned(all_images, images)
