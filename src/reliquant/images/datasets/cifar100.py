"""Read CIFAR-100: 100 classes of small photographs (Krizhevsky 2009)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from reliquant.download.source import Source
from reliquant.images import cifar
from reliquant.images.dataset import Dataset
from reliquant.images.reading import thinned

SOURCES = (
    Source(
        url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        bytes=168_513_733,
        licence="research use; cite Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
        unpack=True,
    ),
)
COUNTS = {"train": 50_000, "test": 10_000}


def dataset(
    root: Path,
    /,
    *,
    split: Literal["train", "test"] = "test",
    templates: list[str] | None = None,
    images: int | None = None,
) -> Dataset:
    """Read a split from `cifar-100-binary/` as the archive unpacks; class names are its own `fine_label_names.txt`.

    `images` keeps that many, evenly spread. Raises FileNotFoundError naming a missing file, ValueError when one has
    another size than published.
    """
    folder = root / "cifar-100-binary"
    listed = folder / "fine_label_names.txt"
    if not listed.is_file():
        raise FileNotFoundError(f"{listed}: no such file")
    classes = [name.replace("_", " ") for name in listed.read_text().split()]
    words = {"classes": classes, "templates": templates or cifar.TEMPLATES, "labels": 2}  # coarse, then fine
    return thinned(cifar.read_records([folder / f"{split}.bin"], COUNTS[split], **words), images)
