"""Read MNIST (LeCun et al. 1998): 28 x 28 handwritten digits, far out of photographs' distribution."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Literal

import numpy as np

from reliquant.download.source import Source
from reliquant.files.bounded import limit, require
from reliquant.images.dataset import Dataset
from reliquant.images.parquet import read_parquet
from reliquant.images.reading import thinned

MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist"
TERMS = "CC BY-SA 3.0; LeCun, Cortes, Burges"
FILES = {"train": "train", "test": "t10k"}
SOURCES = (
    Source(
        f"{MIRROR}/t10k-images-idx3-ubyte.gz",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        1_648_877,
        TERMS,
    ),
    Source(
        f"{MIRROR}/t10k-labels-idx1-ubyte.gz",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        4_542,
        TERMS,
    ),
)
MOST = 2**27  # bytes of a file, unpacked; the largest has 47 million
CLASSES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TEMPLATES = ["a photo of the number {}"]


def dataset(root: Path, /, *, split: Literal["train", "test"] = "test", images: int | None = None) -> Dataset:
    """Read a split from the official idx files (gz or unpacked) or `<split>.parquet` in `root`.

    `images` keeps that many, evenly spread. The test split is what `fetch` downloads. Raises FileNotFoundError naming
    the files, ValueError naming a truncated one.
    """
    if (root / f"{split}.parquet").is_file():
        return thinned(read_parquet([root / f"{split}.parquet"], classes=CLASSES, templates=TEMPLATES), images)
    pixels = _idx(root, f"{FILES[split]}-images-idx3-ubyte", 3)
    labels = _idx(root, f"{FILES[split]}-labels-idx1-ubyte", 1)
    if len(pixels) != len(labels):
        raise ValueError(f"{root}: {len(pixels)} images of the {split} split, but {len(labels)} labels")
    names = [f"{split} {i}" for i in range(len(labels))]
    all_images = Dataset(
        CLASSES, TEMPLATES, labels.astype(np.int64), lambda i: np.stack([pixels[i]] * 3, axis=2), names
    )
    return thinned(all_images, images)


def _idx(root: Path, name: str, dimensions: int) -> np.ndarray:
    path = next((p for p in (root / name, root / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"{root}: holds neither {name}.gz nor a parquet file of the split")
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            data = file.read(limit(MOST) + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path}: truncated or not gzip ({error})") from error
    require(path, "bytes, unpacked, or more", len(data), MOST)
    if data[:4] != bytes([0, 0, 8, dimensions]):
        raise ValueError(f"{path}: not an idx file of {dimensions} dimensions of bytes")
    shape = np.frombuffer(data, ">u4", dimensions, 4).astype(int)
    if len(data) != 4 + 4 * dimensions + math.prod(shape.tolist()):
        raise ValueError(f"{path}: {len(data)} bytes do not hold the {'x'.join(map(str, shape))} that it announces")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
