"""Read Places365's validation images (Zhou et al. 2017): scenes, 256 x 256."""

from __future__ import annotations

from pathlib import Path

from reliquant.download.source import Source
from reliquant.images.dataset import Dataset
from reliquant.images.folders import unlabelled
from reliquant.images.reading import TEMPLATES, thinned

SOURCES = (
    Source(
        url="http://data.csail.mit.edu/places/places365/val_256.tar",
        sha256="24b4e639ef12a0012af525bc4cb443e4ab4aaea8369a1fb009b70e4a4aad5d48",
        bytes=525_158_400,
        licence="non-commercial research and education; photographs belong to their authors",
        unpack=True,
    ),
)
IMAGES = 36_500


def dataset(root: Path, /, *, images: int | None = None) -> Dataset:
    """Read `val_256/` as the archive unpacks, all 36,500; OpenOOD leaves out scenes that show CIFAR's classes.

    Without labels. `images` keeps that many, evenly spread. Raises ValueError when there are more or fewer.
    """
    all_images = unlabelled(root / "val_256", templates=TEMPLATES, total=IMAGES)
    return thinned(all_images, images)
