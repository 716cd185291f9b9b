"""CIFAR-10 (Krizhevsky 2009) as its author publishes it, as parquet files, or as folders of image files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from reliquant.download.source import Source
from reliquant.images.dataset import Dataset
from reliquant.images.folders import read_folders
from reliquant.images.parquet import read_parquet

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
TEMPLATES = ["a photo of a {}", "a picture of a {}"]
BATCHES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
PLANES = 3 * 32 * 32  # bytes: red, green, blue
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
        files = [binary / file for file in BATCHES[split]]
        return read_records(files, IMAGES, classes=CLASSES, templates=templates)
    if parquet.is_file():
        return read_parquet([parquet], classes=CLASSES, templates=templates)
    if (root / split).is_dir():
        return read_folders(root / split, classes=CLASSES, prompts=None, templates=templates)
    raise FileNotFoundError(f"{root}: holds neither {binary.name}/ nor {parquet.name} nor {split}/<class>/")


def read_records(
    paths: list[Path], images: int, /, *, classes: list[str], templates: list[str], labels: int = 1
) -> Dataset:
    """Read binary files of `images` records each: `labels` label bytes, of which the last counts, then three planes.

    The planes are red, green and blue, 32 x 32 bytes each. Raises FileNotFoundError naming a missing file, ValueError
    naming one of another size.
    """
    size = labels + PLANES
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
        if path.stat().st_size != images * size:
            raise ValueError(f"{path}: has {path.stat().st_size} bytes; {images} records take {images * size}")
    records = np.concatenate([np.fromfile(path, np.uint8).reshape(images, size) for path in paths])
    return Dataset(
        classes=classes,
        templates=templates,
        labels=records[:, labels - 1].astype(np.int64),
        read=lambda i: records[i, labels:].reshape(3, 32, 32).transpose(1, 2, 0),
        names=[f"{path.name} record {i}" for path in paths for i in range(images)],
    )


def _array(path: Path) -> NDArray[Any]:
    """Map an npy file; raise ValueError naming one that is damaged, or holds objects."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header, which numpy evaluates, may raise anything
        raise ValueError(f"{path}: truncated, or no array of numbers ({str(error)[:200]})") from error


def read_arrays(data: Path, labels: Path, /, *, rows: slice, total: int, templates: list[str]) -> Dataset:
    """Read images (total, 32, 32, 3) of CIFAR-10's classes and their labels (total,) from npy files; keep `rows`.

    Raises FileNotFoundError naming a missing file, ValueError naming one of another shape.
    """
    for path in (data, labels):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
    pixels, numbers = _array(data), _array(labels)
    if pixels.shape != (total, 32, 32, 3) or pixels.dtype != np.uint8:
        raise ValueError(f"{data}: ({total}, 32, 32, 3) uint8 is expected, not {pixels.shape} {pixels.dtype}")
    if numbers.shape != (total,):
        raise ValueError(f"{labels}: {total} labels are expected, not {numbers.shape}")
    chosen, label = pixels[rows], np.asarray(numbers[rows], np.int64)
    names = [f"{data.name} {i}" for i in range(len(label))]
    return Dataset(CLASSES, templates, label, lambda i: np.array(chosen[i]), names)
