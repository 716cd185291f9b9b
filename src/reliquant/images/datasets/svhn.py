"""Read SVHN's test images (Netzer et al. 2011): house numbers from street views, 32 x 32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import loadmat, whosmat

from reliquant.download.source import Source
from reliquant.images.dataset import Dataset
from reliquant.images.reading import thinned

SOURCES = (
    Source(
        url="http://ufldl.stanford.edu/housenumbers/test_32x32.mat",
        sha256="cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
        bytes=64_275_384,
        licence="non-commercial use; cite Netzer et al., Reading Digits in Natural Images, 2011",
    ),
)
IMAGES = 26_032
CLASSES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TEMPLATES = ["a photo of the number {} on a house"]


def dataset(root: Path, /, *, templates: list[str] | None = None, images: int | None = None) -> Dataset:
    """Read `test_32x32.mat`, in which a zero is labelled 10; `images` keeps that many, evenly spread.

    Raises FileNotFoundError without the file, ValueError when it does not hold 26,032 images.
    """
    path = root / "test_32x32.mat"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    shapes = {name: shape for name, shape, _ in whosmat(path)}  # from headers: an array may be any size, unpacked
    expected = {"X": (32, 32, 3, IMAGES), "y": (IMAGES, 1)}
    if any(shapes.get(name) != shape for name, shape in expected.items()):
        raise ValueError(f"{path}: {IMAGES} images of 32 x 32 are expected, and their labels, as X and y, not {shapes}")
    held = loadmat(path, variable_names=list(expected))
    pixels, labels = held["X"], held["y"].ravel().astype(np.int64) % 10
    if pixels.shape != (32, 32, 3, IMAGES) or len(labels) != IMAGES:
        raise ValueError(f"{path}: {IMAGES} images of 32 x 32 are expected, not {pixels.shape}, {len(labels)} labels")
    names = [f"test {i}" for i in range(IMAGES)]
    all_images = Dataset(CLASSES, templates or TEMPLATES, labels, lambda i: np.ascontiguousarray(pixels[..., i]), names)
    return thinned(all_images, images)
