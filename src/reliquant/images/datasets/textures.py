"""Read the Describable Textures Dataset (Cimpoi et al. 2014): textures in the wild, no objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reliquant.download.source import Source
from reliquant.images.dataset import Dataset
from reliquant.images.folders import read_folders
from reliquant.images.reading import thinned

SOURCES = (
    Source(
        url="https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",
        sha256="e42855a52a4950a3b59612834602aa253914755c95b0cff9ead6d07395f8e205",
        bytes=625_239_812,
        licence="research use; cite Cimpoi et al., Describing Textures in the Wild, CVPR 2014",
        unpack=True,
    ),
)
TEMPLATES = ["a photo of a {} texture", "a photo of a {} pattern", "a photo of a {} thing", "a photo of a {} object"]
CLASSES, EACH = 47, 120  # of the official release


def dataset(root: Path, /, *, templates: list[str] | None = None, images: int | None = None) -> Dataset:
    """Read `dtd/images/<class>/` as the official archive unpacks, or class folders that lie in `root` itself.

    `images` keeps that many, evenly spread. Raises ValueError when the official tree lacks a class or an image.
    """
    official = root / "dtd" / "images"
    folder = official if official.is_dir() else root
    all_images = read_folders(folder, classes=None, prompts=None, templates=templates or TEMPLATES)
    if folder == official:
        counts = np.bincount(all_images.labels, minlength=len(all_images.classes))
        wrong = [f"{name} {n}" for name, n in zip(all_images.classes, counts, strict=True) if n != EACH]
        if len(counts) != CLASSES or wrong:
            raise ValueError(f"{folder}: {CLASSES} classes of {EACH} are expected; there are {len(counts)}: {wrong}")
    return thinned(all_images, images)
