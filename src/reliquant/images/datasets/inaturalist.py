"""Read the iNaturalist subset of Huang and Li (2021): plants, far from ImageNet."""

from __future__ import annotations

from pathlib import Path

from reliquant.download.source import Source
from reliquant.images.dataset import Dataset
from reliquant.images.folders import unlabelled
from reliquant.images.reading import TEMPLATES, thinned

SOURCES = (
    Source(
        url="https://pages.cs.wisc.edu/~huangrui/imagenet_ood_dataset/iNaturalist.tar.gz",
        sha256=None,  # not known to us: the first fetch records it
        bytes=None,
        licence="non-commercial research; photographs under their own licences",
        unpack=True,
    ),
)
IMAGES = 10_000


def dataset(root: Path, /, *, images: int | None = None) -> Dataset:
    """Read `iNaturalist/images/` as the archive unpacks.

    Without labels. `images` keeps that many, evenly spread. Raises ValueError when there are more or fewer.
    """
    all_images = unlabelled(root / "iNaturalist" / "images", templates=TEMPLATES, total=IMAGES)
    return thinned(all_images, images)
