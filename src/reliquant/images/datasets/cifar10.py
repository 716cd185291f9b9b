"""Read CIFAR-10: 10 classes of small photographs (Krizhevsky 2009)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from reliquant.images import cifar
from reliquant.images.dataset import Dataset
from reliquant.images.reading import thinned

SOURCES = cifar.SOURCES


def dataset(
    root: Path,
    /,
    *,
    split: Literal["train", "test"] = "test",
    templates: list[str] | None = None,
    images: int | None = None,
) -> Dataset:
    """Read a split in its order from the official binary batches, `<split>.parquet` or class folders in `root`.

    `images` keeps that many, evenly spread over the split.
    """
    return thinned(cifar.read_cifar10(root, split=split, templates=templates or cifar.TEMPLATES), images)
