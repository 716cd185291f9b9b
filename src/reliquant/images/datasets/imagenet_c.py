"""Read ImageNet-C (Hendrycks and Dietterich 2019): the official corrupted validation images, where you have them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from reliquant.images.dataset import Dataset
from reliquant.images.folders import expect, placed
from reliquant.images.imagenet import read_wnids
from reliquant.images.reading import thinned

PLACE = "{corruption}/{severity}"  # below the dataset's folder
HOW = (
    "Get noise.tar, blur.tar, weather.tar, digital.tar and extra.tar of ImageNet-C (zenodo.org, record 2224668; CC BY "
    "4.0, photographs under ImageNet's terms) and unpack them there as <corruption>/<severity>/<wnid>/"
)
EACH = 50


def dataset(
    root: Path,
    /,
    *,
    corruption: str,
    severity: Literal[1, 2, 3, 4, 5],
    prompts: list[str] | Literal["openai"] | None = None,
    images: int | None = None,
) -> Dataset:
    """Read `<corruption>/<severity>/<wnid>/` of trees that you put in place.

    The published files are JPEG of 224 pixels, so figures differ a little from corruptions made in memory.
    `prompts`: templates, or `openai` for CLIP's 80. `images` keeps that many, evenly spread.
    Raises FileNotFoundError that says how to get the images, ValueError naming classes whose numbers are wrong.
    """
    folder = placed(root / PLACE.format(corruption=corruption, severity=severity), HOW)
    return thinned(expect(read_wnids(folder, prompts=prompts), folder, classes=1000, each=EACH), images)
