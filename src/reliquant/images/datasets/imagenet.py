"""Read ImageNet's validation images (Russakovsky et al. 2015): 50,000 photographs of 1,000 classes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from reliquant.images.dataset import Dataset
from reliquant.images.folders import expect, placed
from reliquant.images.imagenet import read_wnids
from reliquant.images.reading import thinned

PLACE = "{split}"  # below the dataset's folder
HOW = (
    "ImageNet is given to registered researchers only (non-commercial research): get ILSVRC2012_img_val.tar from "
    "image-net.org, sort its images into one folder per WordNet id, and put these into val/ there"
)
EACH = 50


def dataset(
    root: Path,
    /,
    *,
    split: str = "val",
    prompts: list[str] | Literal["openai"] | None = None,
    images: int | None = None,
) -> Dataset:
    """Read `<split>/<wnid>/` of a tree that you put in place; each class of `val` must have 50 images.

    `prompts`: templates, or `openai` for CLIP's 80. `images` keeps that many, evenly spread.
    Raises FileNotFoundError that says how to get the images, ValueError naming classes whose numbers are wrong.
    """
    folder = placed(root / PLACE.format(split=split), HOW)
    all_images = read_wnids(folder, prompts=prompts)
    return thinned(expect(all_images, folder, classes=1000, each=EACH if split == "val" else None), images)
