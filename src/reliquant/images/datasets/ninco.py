"""Read NINCO (Bitterwolf et al. 2023): near ImageNet, each image checked by eye."""

from __future__ import annotations

from pathlib import Path

from reliquant.download.source import Source
from reliquant.images.dataset import Dataset
from reliquant.images.folders import unlabelled
from reliquant.images.reading import TEMPLATES, thinned

SOURCES = (
    Source(
        url="https://zenodo.org/record/8013288/files/NINCO_all.tar.gz",
        sha256=None,  # not known to us: the first fetch records it
        bytes=None,
        licence="CC BY 4.0 (collection); photographs under their own licences",
        unpack=True,
    ),
)
IMAGES = 5_879


def dataset(root: Path, /, *, images: int | None = None) -> Dataset:
    """Read `NINCO/NINCO_OOD_classes/` as the archive unpacks.

    Without labels. `images` keeps that many, evenly spread. Raises ValueError when there are more or fewer.
    """
    all_images = unlabelled(root / "NINCO" / "NINCO_OOD_classes", templates=TEMPLATES, total=IMAGES)
    return thinned(all_images, images)
