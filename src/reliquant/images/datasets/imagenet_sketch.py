"""Read ImageNet-Sketch (Wang et al. 2019): black-and-white sketches of all 1,000 classes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from reliquant.download.source import Source
from reliquant.images.dataset import Dataset
from reliquant.images.folders import expect
from reliquant.images.imagenet import read_wnids
from reliquant.images.reading import thinned

SOURCES = (
    Source(
        url="https://huggingface.co/datasets/songweig/imagenet_sketch/resolve/main/data/ImageNet-Sketch.zip",
        sha256=None,  # not known to us: the first fetch records it
        bytes=None,
        licence="MIT (repository); images belong to their authors: research",
        unpack=True,
    ),
)
IMAGES = 50_889


def dataset(
    root: Path,
    /,
    *,
    prompts: list[str] | Literal["openai"] | None = None,
    images: int | None = None,
) -> Dataset:
    """Read `sketch/<wnid>/` as the archive unpacks.

    `prompts`: templates, or `openai` for CLIP's 80. `images` keeps that many, evenly spread.
    Raises ValueError when the folder does not hold what was published.
    """
    folder = root / "sketch"
    all_images = read_wnids(folder, prompts=prompts)
    return thinned(expect(all_images, folder, classes=1000, total=IMAGES), images)
