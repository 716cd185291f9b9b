"""Decode a dataset once into arrays that every variant shares, memory-mapped, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import numpy as np
from numpy.lib.format import open_memmap, write_array_header_1_0
from numpy.typing import NDArray
from PIL import Image

from reliquant.artifacts import DamagedFile, save_array, save_json, whole
from reliquant.images.dataset import Dataset, UnreadableImage
from reliquant.progress import progress
from reliquant.study import paths

AHEAD = 64  # images decoded ahead of the writer, for each worker


class Meta(TypedDict):
    """Say what is known of prepared images, as `meta.json` holds it.

    `entry` is the config entry of the dataset, `skipped` names the images that could not be read, `sha256` is that of
    all pixels and labels. Datasets with captions also name each image.
    """

    n: int
    classes: list[str]
    templates: list[str]
    entry: dict[str, Any]
    skipped: list[str]
    sha256: str
    captions: NotRequired[list[str]]
    groups: NotRequired[list[str]]
    names: NotRequired[list[str]]


@dataclass(frozen=True)
class Prepared:
    """Hold decoded images (n, h, w, 3) uint8, memory-mapped, their labels (n,) and what is known of them."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    meta: Meta


def prepare(
    dataset: Dataset,
    folder: Path,
    /,
    *,
    form: str,
    entry: Mapping[str, Any],
    unreadable: Literal["stop", "skip"] = "stop",
    workers: int = 1,
) -> None:
    """Decode all images into `folder`: `images.npy`, `labels.npy` and, last of all, `meta.json`.

    `form` is `native` (all images of one size) or `<size>-<shortest|squash>-<bicubic|bilinear>`, as open_clip
    preprocesses. An unreadable image stops the preparation, or is skipped and named in `meta.json`. Raises ValueError
    naming the image whose size differs from the first one's, or when no image can be read.
    """
    shape = _fit(dataset.read(_first_readable(dataset, unreadable)), form).shape
    folder.mkdir(parents=True, exist_ok=True)
    (folder / paths.META).unlink(missing_ok=True)  # what is half replaced must not look complete
    skipped: list[int] = []
    digest = hashlib.sha256()
    with whole(folder / paths.IMAGES) as part:
        out = open_memmap(part, "w+", np.uint8, (len(dataset.labels), *shape))
        _take_space(part)
        kept = 0
        decoded = _decoded(dataset, form, unreadable, workers)
        for i, image in progress(decoded, label=folder.parent.name, total=len(out)):
            if image is None:
                skipped.append(i)
                continue
            if image.shape != shape:
                raise ValueError(
                    f"{dataset.names[i]}: {image.shape[1]}x{image.shape[0]} pixels where the first image has"
                    f" {shape[1]}x{shape[0]}: leave out `native: true`"
                )
            out[kept] = image
            digest.update(out[kept])
            kept += 1
        out.flush()
        _shorten(part, out, kept)
    _describe(dataset, folder, skipped, entry, digest)


def load(folder: Path, /) -> Prepared:
    """Open a prepared folder.

    Raises FileNotFoundError naming a missing file, DamagedFile naming files that do not fit together.
    """
    folder = Path(folder)
    for name in (paths.META, paths.IMAGES, paths.LABELS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name}: no such file; the dataset is not prepared")
    meta = json.loads((folder / paths.META).read_text())
    try:
        images = np.load(folder / paths.IMAGES, mmap_mode="r", allow_pickle=False)
        labels = np.load(folder / paths.LABELS, allow_pickle=False)
    except ValueError as error:
        raise DamagedFile(f"{folder}: {error}") from error
    if not len(images) == len(labels) == meta["n"]:
        raise DamagedFile(f"{folder}: {len(images)} images and {len(labels)} labels, but {paths.META} says {meta['n']}")
    return Prepared(images, labels, meta)


def _shorten(path: Path, out: np.memmap, kept: int) -> None:
    """Cut an npy file to its first images; numpy pads headers so that a shape may change in place."""
    header = {"descr": out.dtype.str, "fortran_order": False, "shape": (kept, *out.shape[1:])}
    with open(path, "r+b") as file:
        write_array_header_1_0(file, header)
        if file.tell() != out.offset:
            raise RuntimeError(f"{path}: the header moved from {out.offset} to {file.tell()} bytes")
        file.truncate(out.offset + kept * out[0].nbytes)


def _describe(dataset: Dataset, folder: Path, skipped: list[int], entry: Mapping[str, Any], digest: Any) -> None:
    keep = np.setdiff1d(np.arange(len(dataset.labels)), skipped)
    labels = dataset.labels[keep]
    save_array(folder / paths.LABELS, labels)
    digest.update(labels.tobytes())
    meta: Meta = {
        "n": len(keep),
        "classes": dataset.classes,
        "templates": dataset.templates,
        "entry": dict(entry),
        "skipped": [dataset.names[i] for i in skipped],
        "sha256": digest.hexdigest(),
    }
    if dataset.captions is not None:
        meta["captions"] = [dataset.captions[i] for i in keep]
    if dataset.groups is not None:
        meta["groups"] = [dataset.groups[i] for i in keep]
    if dataset.captions is not None:  # pairs are named one by one in the header of what was made with them
        meta["names"] = [dataset.names[i] for i in keep]
    save_json(folder / paths.META, meta)


def _decoded(
    dataset: Dataset, form: str, unreadable: str, workers: int
) -> Iterator[tuple[int, NDArray[np.uint8] | None]]:
    """Yield each image and its number, in order, decoded by several threads; None in place of one to be skipped."""

    def one(i: int) -> tuple[int, NDArray[np.uint8] | None]:
        try:
            return i, _fit(dataset.read(i), form)
        except UnreadableImage:
            if unreadable == "stop":
                raise
            return i, None

    with ThreadPoolExecutor(workers) as pool:  # Pillow decodes without the interpreter's lock
        for start in range(0, len(dataset.labels), AHEAD * workers):
            yield from pool.map(one, range(start, min(start + AHEAD * workers, len(dataset.labels))))


def _take_space(part: Path) -> None:
    """Take all the space of a mapped file now: a disk that is full later would kill the process without a message."""
    if hasattr(os, "posix_fallocate"):  # macOS has none
        with open(part, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, part.stat().st_size)


def _first_readable(dataset: Dataset, unreadable: str) -> int:
    for i in range(len(dataset.labels)):
        try:
            dataset.read(i)
        except UnreadableImage:
            if unreadable == "stop":
                raise
            continue
        return i
    raise ValueError(f"none of the {len(dataset.labels)} images can be read; the first is {dataset.names[0]}")


def _fit(image: NDArray[np.uint8], form: str) -> NDArray[np.uint8]:
    """Resize and crop as torchvision's Resize and CenterCrop do with PIL; `native` images stay as they are."""
    if form == "native":
        return image
    size, resize, interpolation = form.split("-")
    size = int(size)
    height, width = image.shape[:2]
    if resize == "squash":
        target = (size, size)
    else:
        target = (size, int(size * height / width)) if width <= height else (int(size * width / height), size)
    filtering = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}[interpolation]
    resized = image if (width, height) == target else np.asarray(Image.fromarray(image).resize(target, filtering))
    top, left = round((target[1] - size) / 2), round((target[0] - size) / 2)
    return resized[top : top + size, left : left + size]
