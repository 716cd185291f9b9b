"""Read scikit-learn's handwritten digits (UCI, 8 x 8, real scans): far out of the embedded lab's distribution."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from reliquant.images.dataset import Dataset

PLACE = None  # nothing is read from `root`

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def dataset(root: Path, /, *, images: int = 1797, size: int = 32) -> Dataset:
    """Enlarge the first digits to size x size RGB (bicubic), ink white on black. Nothing is read from `root`.

    Raises ValueError when more are asked for than the 1797 that scikit-learn ships.
    """
    scans, labels = load_digits(return_X_y=True)
    if not 1 <= images <= len(scans):
        raise ValueError(f"images: {images} asked for; scikit-learn ships {len(scans)} digits")
    grey = np.round(scans.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)

    def read(i: int) -> np.ndarray:
        return np.asarray(Image.fromarray(grey[i]).resize((size, size), Image.Resampling.BICUBIC).convert("RGB"))

    return Dataset(
        classes=WORDS,
        templates=["a photo of the number {}", "a picture of the digit {}", "an image of the number {}"],
        labels=labels[:images].astype(np.int64),
        read=read,
        names=[f"digit {i}" for i in range(images)],
    )
