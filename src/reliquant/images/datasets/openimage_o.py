"""Read OpenImage-O (Wang et al. 2022): far from ImageNet, from Open Images."""

from __future__ import annotations

from pathlib import Path

from reliquant.images.dataset import Dataset
from reliquant.images.folders import placed, unlabelled
from reliquant.images.reading import TEMPLATES, thinned

PLACE = "openimage_o"  # below the dataset's folder
HOW = (
    "Put the images of OpenOOD v1.5 (github.com/Jingkang50/OpenOOD, images_largescale/openimage_o) there. "
    "Take those of test_openimage_o.txt. Terms: CC BY 4.0 (annotations), CC BY 2.0 (photographs)"
)
IMAGES = 15_869


def dataset(root: Path, /, *, images: int | None = None) -> Dataset:
    """Read `openimage_o/`, in any folders: the test images of OpenOOD v1.5, 15,869 of the 17,632.

    Without labels. `images` keeps that many, evenly spread. Raises FileNotFoundError that says how to get the images,
    ValueError when their number is not the published one.
    """
    all_images = unlabelled(placed(root / PLACE, HOW), templates=TEMPLATES, total=IMAGES)
    return thinned(all_images, images)
