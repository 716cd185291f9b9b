"""Read ImageNetV2 (Recht et al. 2019): a second test set of the 1,000 classes, matched in frequency."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from reliquant.download.source import Source
from reliquant.images.dataset import Dataset
from reliquant.images.folders import expect, read_folders
from reliquant.images.imagenet import names, templates
from reliquant.images.reading import thinned

SOURCES = (
    Source(
        url="https://huggingface.co/datasets/vaishaal/ImageNetV2/resolve/main/imagenetv2-matched-frequency.tar.gz",
        sha256="f0c37fdf925916b19ea1323cd9a2208cdb6959ba2c32eef2a7fc393835c9ca7c",
        bytes=1_264_079_360,
        licence="MIT (repository); photographs belong to their authors: research",
        unpack=True,
    ),
)
FOLDER, EACH = "imagenetv2-matched-frequency-format-val", 10


def dataset(
    root: Path,
    /,
    *,
    prompts: list[str] | Literal["openai"] | None = None,
    images: int | None = None,
) -> Dataset:
    """Read `<FOLDER>/<0 .. 999>/` as the archive unpacks: the folders are numbers of ImageNet's classes.

    `prompts`: templates, or `openai` for CLIP's 80. `images` keeps that many, evenly spread.
    Raises ValueError unless each of the 1,000 classes has 10 images.
    """
    folder, numbers = root / FOLDER, [str(i) for i in range(len(names()))]
    all_images = read_folders(folder, classes=numbers, prompts=names(), templates=templates(prompts))
    return thinned(expect(all_images, folder, classes=len(numbers), each=EACH), images)
