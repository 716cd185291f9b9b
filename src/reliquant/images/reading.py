"""What all readers of labelled images share: decoding one image, numbering labels, keeping some of the images."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from reliquant.images.dataset import Dataset, UnreadableImage

# what Pillow raises for a file that is damaged
BROKEN = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
TEMPLATES = ["a photo of a {}"]


def decode(source: bytes | Path, name: str, /) -> NDArray[np.uint8]:
    """Decode an image file to RGB uint8 (h, w, 3) as open_clip does; raise UnreadableImage naming the image."""
    try:
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source) as image:
            return np.asarray(image.convert("RGB"))
    except UnidentifiedImageError as error:
        raise UnreadableImage(f"{name}: cannot be decoded: not an image, or damaged at its start") from error
    except BROKEN as error:
        raise UnreadableImage(f"{name}: cannot be decoded: {error}") from error


def number(
    labels: Sequence[str | int | None], classes: list[str] | None, names: Sequence[str], /
) -> tuple[NDArray[np.int64], list[str]]:
    """Return the place of each label (n,) among the classes, and the classes: by default the sorted distinct labels.

    Labels may be class names, or numbers when `classes` says what they mean. `names` (n,) are those of the images.
    Raises ValueError naming an image without a label or with a label outside the classes, or when the classes of
    numbers are not known.

    >>> number(["dog", "cat", "dog"], None, ["a", "b", "c"])
    (array([1, 0, 1]), ['cat', 'dog'])
    """
    for name, label in zip(names, labels, strict=True):
        if label is None:
            raise ValueError(f"{name}: has no label")
    if labels and isinstance(labels[0], int | np.integer):
        if classes is None:
            raise ValueError("the labels are numbers: say what they mean with `classes` or in classes.json beside them")
        outside = next((i for i, label in enumerate(labels) if not 0 <= label < len(classes)), None)
        if outside is not None:
            raise ValueError(f"{names[outside]}: label {labels[outside]} is outside the {len(classes)} classes")
        return np.array(labels, np.int64), classes
    classes = sorted(set(labels)) if classes is None else classes
    place = {label: i for i, label in enumerate(classes)}
    for name, label in zip(names, labels, strict=True):
        if label not in place:
            known = ", ".join(classes[:10]) + (", ..." if len(classes) > 10 else "")
            raise ValueError(f"{name}: label {label!r} is not among the {len(classes)} classes: {known}")
    return np.array([place[label] for label in labels], np.int64), classes


def class_names(root: Path, given: list[str] | None, /) -> list[str] | None:
    """Return the given class names, else those of `classes.json` (a list) or `classnames.txt` in the folder, else None.

    Raises ValueError for a `classes.json` that is no list of strings.
    """
    if given is not None:
        return given
    if (path := root / "classes.json").is_file():
        names = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{path}: must hold a list of class names")
        return names
    if (path := root / "classnames.txt").is_file():
        return path.read_text(encoding="utf-8").splitlines()
    return None


def existing(root: Path, files: list[str] | None, suffix: str, /) -> list[Path]:
    """Return the named files of a folder (None: all with the suffix, sorted).

    Raises FileNotFoundError naming a missing file, or the folder when it is missing or holds no such file.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    paths = sorted(root.glob(f"*{suffix}")) if files is None else [root / file for file in files]
    if not paths:
        raise FileNotFoundError(f"{root}: holds no {suffix} file")
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
    return paths


def chosen(dataset: Dataset, index: NDArray[np.int64], /) -> Dataset:
    """Keep the images of a dataset whose numbers are in `index` (k,), in that order."""

    def part(values: list[str] | None) -> list[str] | None:
        return None if values is None else [values[i] for i in index]

    return replace(
        dataset,
        labels=dataset.labels[index],
        names=[dataset.names[i] for i in index],
        captions=part(dataset.captions),
        groups=part(dataset.groups),
        read=lambda i: dataset.read(int(index[i])),
    )


def thinned(dataset: Dataset, images: int | None, /) -> Dataset:
    """Keep so many images, evenly spread over the dataset (None: all); raise ValueError when there are fewer."""
    total = len(dataset.labels)
    if images is None:
        return dataset
    if not 1 <= images <= total:
        raise ValueError(f"images: {images} asked for; there are {total}")
    return chosen(dataset, np.arange(images) * total // images)
