"""Read ObjectNet (Barbu et al. 2019): objects in odd places and poses; the 113 classes that ImageNet has too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from reliquant.files.bounded import read_json
from reliquant.images.dataset import Dataset
from reliquant.images.folders import expect, placed, read_folders
from reliquant.images.reading import TEMPLATES, thinned

PLACE = "objectnet-1.0"  # below the dataset's folder
HOW = (
    "Get objectnet-1.0.zip from objectnet.dev (CC BY 4.0 with two conditions: no training on it, and its red border "
    "stays on published images) and unpack it there"
)
CLASSES, IMAGES = 113, 18_574
BORDER = 2  # pixels: a red line marks every image


def dataset(root: Path, /, *, templates: list[str] | None = None, images: int | None = None) -> Dataset:
    """Read the 113 classes of `objectnet-1.0/images/` that `mappings/` relates to ImageNet, labelled among themselves.

    The red border is cut off. `images` keeps that many, evenly spread. Raises FileNotFoundError that says how to get
    the images, ValueError when classes or images are not as many as published.
    """
    folder = placed(root / PLACE, HOW)
    labels, shared = (
        read_json(folder / "mappings" / f"{name}.json")
        for name in ("folder_to_objectnet_label", "objectnet_to_imagenet_1k")
    )
    kept = sorted(name for name, label in labels.items() if label in shared)
    words = {"classes": kept, "prompts": [labels[name].lower() for name in kept], "others": True}
    all_images = read_folders(folder / "images", **words, templates=templates or TEMPLATES)
    read = expect(all_images, folder, classes=CLASSES, total=IMAGES).read
    return thinned(replace(all_images, read=lambda i: read(i)[BORDER:-BORDER, BORDER:-BORDER]), images)
