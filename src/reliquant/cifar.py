"""CIFAR-10 (Krizhevsky 2009) as its author publishes it, as parquet files, or as folders of image files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from reliquant.folders import read_folders
from reliquant.images import Dataset, Source
from reliquant.parquet_images import read_parquet

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
TEMPLATES = ["a photo of a {}", "a picture of a {}"]
BATCHES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
RECORD = 1 + 3 * 32 * 32  # a label, then the red, green and blue planes
IMAGES = 10_000  # in each batch
SOURCES = (
    Source(
        url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        bytes=170_052_171,
        licence="research use; cite Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
        unpack=True,
    ),
)


def read_cifar10(root: Path, /, *, split: Literal["train", "test"], templates: list[str]) -> Dataset:
    """Read a split from `cifar-10-batches-bin/`, `<split>.parquet` or `<split>/<class>/*` below `root`.

    Raises FileNotFoundError naming the three when none is there, ValueError when a binary batch has another size than
    10,000 records.
    """
    binary, parquet = root / "cifar-10-batches-bin", root / f"{split}.parquet"
    if binary.is_dir():
        return _binary([binary / file for file in BATCHES[split]], templates)
    if parquet.is_file():
        return read_parquet([parquet], classes=CLASSES, templates=templates)
    if (root / split).is_dir():
        return read_folders(root / split, classes=CLASSES, prompts=None, templates=templates)
    raise FileNotFoundError(f"{root}: holds neither {binary.name}/ nor {parquet.name} nor {split}/<class>/")


def _binary(paths: list[Path], templates: list[str]) -> Dataset:
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
        if path.stat().st_size != IMAGES * RECORD:
            raise ValueError(f"{path}: has {path.stat().st_size} bytes; {IMAGES} records take {IMAGES * RECORD}")
    records = np.concatenate([np.fromfile(path, np.uint8).reshape(IMAGES, RECORD) for path in paths])
    return Dataset(
        classes=CLASSES,
        templates=templates,
        labels=records[:, 0].astype(np.int64),
        read=lambda i: records[i, 1:].reshape(3, 32, 32).transpose(1, 2, 0),
        names=[f"{path.name} record {i}" for path in paths for i in range(IMAGES)],
    )
