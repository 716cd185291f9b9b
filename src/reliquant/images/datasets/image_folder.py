"""Read a tree of image files, one folder per class: ImageNet's, torchvision's ImageFolder's, your own; or any tree."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from reliquant.images.dataset import Dataset
from reliquant.images.folders import read_folders, unlabelled
from reliquant.images.reading import TEMPLATES, thinned

PLACE = "{split}"  # below the dataset's folder


def dataset(
    root: Path,
    /,
    *,
    split: str = "",
    classes: list[str] | Literal[False] | None = None,
    prompts: list[str] | None = None,
    templates: list[str] | None = None,
    images: int | None = None,
) -> Dataset:
    """Read the class folders of `root/split`, by default all, sorted.

    `classes` lists the folders in the order of their labels, `prompts` what captions call them (by default the
    folder's name with spaces for underscores), `images` keeps that many, evenly spread. `classes: false` reads all
    images at any depth without labels: sets that are out of distribution need no class folders.
    """
    words = {"prompts": prompts, "templates": templates or TEMPLATES}
    if classes is False:
        all_images = unlabelled(root / split, templates=words["templates"])
    else:
        all_images = read_folders(root / split, classes=classes, **words)
    return thinned(all_images, images)
