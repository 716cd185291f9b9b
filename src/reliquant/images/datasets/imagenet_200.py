"""Read ImageNet-200 (OpenOOD v1.5): the validation images of the 200 classes that ImageNet-R has."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from reliquant.images.dataset import Dataset
from reliquant.images.folders import expect, placed
from reliquant.images.imagenet import read_wnids, subset
from reliquant.images.reading import thinned

PLACE = "val"  # below the dataset's folder
HOW = (
    "ImageNet is given to registered researchers only (non-commercial research): get ILSVRC2012_img_val.tar from "
    "image-net.org, sort its images into one folder per WordNet id, and put these into val/ there"
)
EACH = 50


def dataset(
    root: Path,
    /,
    *,
    prompts: list[str] | Literal["openai"] | None = None,
    images: int | None = None,
) -> Dataset:
    """Read 200 classes of `val/<wnid>/` of an ImageNet tree that you put in place; labels are among the 200.

    OpenOOD keeps 1,000 of the 10,000 images for tuning and reports on the other 9,000; here all are read.
    `prompts`: templates, or `openai` for CLIP's 80. `images` keeps that many, evenly spread.
    Raises FileNotFoundError that says how to get the images, ValueError naming classes whose numbers are wrong.
    """
    folder = placed(root / PLACE, HOW)
    all_images = read_wnids(folder, only=subset("r"), own=True, prompts=prompts)
    return thinned(expect(all_images, folder, classes=200, each=EACH), images)
