"""Read CIFAR-10-C (Hendrycks and Dietterich 2019): the official corrupted test images of CIFAR-10."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from reliquant.download.source import Source
from reliquant.images import cifar
from reliquant.images.dataset import Dataset
from reliquant.images.reading import thinned

SOURCES = (
    Source(
        url="https://zenodo.org/record/2535967/files/CIFAR-10-C.tar",
        sha256="c72763e101c723b7c507b96205f7e938912a5d587376173b825850cf3cb876a7",
        bytes=2_918_471_680,
        licence="CC BY 4.0",
        unpack=True,
    ),
)
IMAGES = 10_000  # at each severity, one after another in a file


def dataset(
    root: Path,
    /,
    *,
    corruption: str,
    severity: Literal[1, 2, 3, 4, 5],
    templates: list[str] | None = None,
    images: int | None = None,
) -> Dataset:
    """Read one corruption at one severity from `CIFAR-10-C/<corruption>.npy`; `images` keeps that many, evenly spread.

    Raises ValueError naming the corruptions that there are.
    """
    folder = root / "CIFAR-10-C"
    there = sorted(path.stem for path in folder.glob("*.npy") if path.stem != "labels")
    if there and corruption not in there:
        raise ValueError(f"{folder}: holds no corruption {corruption!r}; there are {', '.join(there)}")
    rows = slice((severity - 1) * IMAGES, severity * IMAGES)
    files = (folder / f"{corruption}.npy", folder / "labels.npy")
    words = {"rows": rows, "total": 5 * IMAGES, "templates": templates or cifar.TEMPLATES}
    return thinned(cifar.read_arrays(*files, **words), images)
