"""Read CIFAR-10.1 (Recht et al. 2018): 2,000 new test images of CIFAR-10's classes."""

from __future__ import annotations

from pathlib import Path

from reliquant.download.source import Source
from reliquant.images import cifar
from reliquant.images.dataset import Dataset
from reliquant.images.reading import thinned

URL = "https://raw.githubusercontent.com/modestyachts/CIFAR-10.1/master/datasets/cifar10.1_v6"
TERMS = "MIT (repository); images from Tiny Images: research"
SOURCES = (
    Source(f"{URL}_data.npy", "2997188e5816f5bd545dc77771b6227828c28146049fcecf3fa10775474cacc6", 6_144_128, TERMS),
    Source(f"{URL}_labels.npy", "ae40beda001693674edc94d925ee8268cfe68905f8f9aff800c8dcdfcd6c9448", 8_128, TERMS),
)
IMAGES = 2_000


def dataset(root: Path, /, *, templates: list[str] | None = None, images: int | None = None) -> Dataset:
    """Read version 6 from its two npy files; `images` keeps that many, evenly spread."""
    files = [root / f"cifar10.1_v6_{part}.npy" for part in ("data", "labels")]
    words = {"rows": slice(None), "total": IMAGES, "templates": templates or cifar.TEMPLATES}
    return thinned(cifar.read_arrays(*files, **words), images)
