"""Read scikit-learn's handwritten digits (UCI, 8 x 8, real scans): far out of the embedded lab's distribution."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from reliquant.images.dataset import Dataset

NEEDS = "sklearn"  # of the extras `lab` and `workflow`
PLACE = None  # nothing is read from `root`

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def dataset(root: Path, /, *, images: int = 1797, size: int = 32) -> Dataset:
    """Enlarge the first digits to size x size RGB (bicubic), ink white on black. Nothing is read from `root`.

    Raises ValueError when more are asked for than the 1797 that scikit-learn ships, or where it is not installed.
    """
    scans, labels = _load_digits()
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


def _load_digits() -> tuple[np.ndarray, np.ndarray]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ValueError("dataset digits needs scikit-learn: pip install 'reliquant[lab]'") from error
    return load_digits(return_X_y=True)
