"""Read ImageNet-R (Hendrycks et al. 2021): art, cartoons, toys and other renditions of 200 of the classes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from reliquant.download.source import Source
from reliquant.images.dataset import Dataset
from reliquant.images.folders import expect
from reliquant.images.imagenet import read_wnids, subset
from reliquant.images.reading import thinned

SOURCES = (
    Source(
        url="https://people.eecs.berkeley.edu/~hendrycks/imagenet-r.tar",
        sha256="18c6bf493b39a0d975d48e587437f562caab9c52ae6327dcfa9dd8eb54aa1b52",
        bytes=2_191_079_936,
        licence="MIT (repository); images belong to their authors: research",
        unpack=True,
    ),
)
IMAGES = 30_000


def dataset(
    root: Path,
    /,
    *,
    own: bool = False,
    prompts: list[str] | Literal["openai"] | None = None,
    images: int | None = None,
) -> Dataset:
    """Read `imagenet-r/<wnid>/` as the archive unpacks.

    `own`: labels among the 200 classes alone, as usually reported; else among ImageNet's 1,000.
    `prompts`: templates, or `openai` for CLIP's 80. `images` keeps that many, evenly spread.
    Raises ValueError when the folder does not hold what was published.
    """
    folder = root / "imagenet-r"
    all_images = read_wnids(folder, only=subset("r"), own=own, prompts=prompts)
    return thinned(expect(all_images, folder, classes=200, total=IMAGES), images)
