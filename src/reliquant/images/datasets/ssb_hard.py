"""Read SSB-hard (Vaze et al. 2022): near ImageNet, the hard half of the Semantic Shift Benchmark."""

from __future__ import annotations

from pathlib import Path

from reliquant.images.dataset import Dataset
from reliquant.images.folders import placed, unlabelled
from reliquant.images.reading import TEMPLATES, thinned

PLACE = "ssb_hard"  # below the dataset's folder
HOW = (
    "Put the images of OpenOOD v1.5 (github.com/Jingkang50/OpenOOD, images_largescale/ssb_hard) there. "
    "Terms: those of ImageNet, non-commercial research"
)
IMAGES = 49_000


def dataset(root: Path, /, *, images: int | None = None) -> Dataset:
    """Read `ssb_hard/`, in any folders.

    Without labels. `images` keeps that many, evenly spread. Raises FileNotFoundError that says how to get the images,
    ValueError when their number is not the published one.
    """
    all_images = unlabelled(placed(root / PLACE, HOW), templates=TEMPLATES, total=IMAGES)
    return thinned(all_images, images)
