"""Read ImageNet-A (Hendrycks et al. 2021): photographs that ResNets get wrong, of 200 of the classes."""

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
        url="https://people.eecs.berkeley.edu/~hendrycks/imagenet-a.tar",
        sha256="3bb3632277e6ba6392ea64c02ddbf4dd2266c9caffd6bc09c9656d28f012589e",
        bytes=687_552_512,
        licence="MIT (repository); photographs belong to their authors: research",
        unpack=True,
    ),
)
IMAGES = 7_500


def dataset(
    root: Path,
    /,
    *,
    own: bool = False,
    prompts: list[str] | Literal["openai"] | None = None,
    images: int | None = None,
) -> Dataset:
    """Read `imagenet-a/<wnid>/` as the archive unpacks.

    `own`: labels among the 200 classes alone, as usually reported; else among ImageNet's 1,000.
    `prompts`: templates, or `openai` for CLIP's 80. `images` keeps that many, evenly spread.
    Raises ValueError when the folder does not hold what was published.
    """
    folder = root / "imagenet-a"
    all_images = read_wnids(folder, only=subset("a"), own=own, prompts=prompts)
    return thinned(expect(all_images, folder, classes=200, total=IMAGES), images)
