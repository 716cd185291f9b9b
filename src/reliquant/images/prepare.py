"""Decode a dataset once into arrays that every variant shares, memory-mapped, whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib.format import open_memmap, write_array_header_1_0
from numpy.typing import NDArray
from PIL import Image, ImageOps

from reliquant.files.artifacts import open_array, save_array, save_sealed_json, take_space, whole
from reliquant.files.digests import DamagedFile, SealedArray, seal
from reliquant.images.dataset import Dataset, UnreadableImage
from reliquant.images.decoding import ImageFiles, rgb
from reliquant.images.keys import photograph_key
from reliquant.images.meta import Meta, read_meta
from reliquant.images.walking import told
from reliquant.progress import progress, say
from reliquant.study import paths
from reliquant.study.form import NATIVE, Form, parse_form

AHEAD = 64  # images decoded ahead of the writer, for each worker


@dataclass(frozen=True)
class Prepared:
    """Hold decoded images (n, h, w, 3) uint8, memory-mapped, their labels (n,) and what is known of them.

    `photographs` (n,) are keys of the images as they were decoded, whatever the form; None where they are not known.
    """

    images: NDArray[np.uint8] | SealedArray
    labels: NDArray[np.int64]
    meta: Meta
    photographs: NDArray[np.uint64] | None = None


def prepare(
    dataset: Dataset,
    folder: Path,
    /,
    *,
    form: str,
    entry: Mapping[str, Any],
    unreadable: Literal["stop", "skip"] = "stop",
    workers: int = 1,
    name: str | None = None,
) -> None:
    """Decode all images into `folder`: `images.npy`, `labels.npy`, `photographs.npy` and, last of all, `meta.json`.

    `form` is `native` (all images of one size) or the name of a form as open_clip preprocesses (`study/form.py`). An
    unreadable image stops the preparation, or is skipped and named in `meta.json`. What is skipped, passed over or
    assumed is said on stderr, too, about the dataset's `name` (by default that of the folder above). Raises ValueError
    naming the image whose size differs from the first one's, or when no image can be read.
    """
    shape = _first_readable(dataset, form, unreadable).shape
    keys = np.empty(len(dataset.labels), np.uint64)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / paths.META).unlink(missing_ok=True)  # what is half replaced must not look complete
    skipped: dict[int, UnreadableImage] = {}
    digest = hashlib.sha256()
    with whole(folder / paths.IMAGES) as part:
        out = open_memmap(part, "w+", np.uint8, (len(dataset.labels), *shape))
        take_space(part)
        kept = 0
        decoded = _decoded(dataset, form, unreadable, workers)
        for i, key, image in progress(decoded, label=name or folder.parent.name, total=len(out)):
            if isinstance(image, UnreadableImage):
                skipped[i] = image
                continue
            if image.shape != shape:
                raise ValueError(
                    f"{dataset.names[i]}: {image.shape[1]}x{image.shape[0]} pixels where the first image has"
                    f" {shape[1]}x{shape[0]}: leave out `native: true`"
                )
            out[kept], keys[kept] = image, key
            digest.update(out[kept])
            kept += 1
        out.flush()
        _shorten(part, out, kept)
        arrays = {paths.IMAGES: seal(part)}
    arrays[paths.PHOTOGRAPHS] = save_array(folder / paths.PHOTOGRAPHS, keys[:kept])
    _describe(dataset, folder, list(skipped), entry, form, digest, arrays)
    for line in _notes(dataset, list(skipped.values())):
        say(name or folder.parent.name, line)


def load(folder: Path, /) -> Prepared:
    """Open a prepared folder.

    Raises FileNotFoundError naming a missing file, DamagedFile naming files that do not fit together.
    """
    folder = Path(folder)
    for name in (paths.META, paths.IMAGES, paths.LABELS, paths.PHOTOGRAPHS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name}: no such file; {_remedy(name)}")
    meta = read_meta(folder)
    images = _array(folder, paths.IMAGES, np.uint8, 4, meta)
    labels = np.array(_array(folder, paths.LABELS, np.int64, 1, meta))
    if not len(images) == len(labels) == meta["n"]:
        raise DamagedFile(f"{folder}: {len(images)} images and {len(labels)} labels, but {paths.META} says {meta['n']}")
    if images.shape[3] != 3 or 0 in images.shape:
        raise DamagedFile(
            f"{folder / paths.IMAGES}: must hold images (n, h, w, 3), not {images.shape}; prepare it again"
        )
    outside = np.flatnonzero((labels < -1) | (labels >= len(meta["classes"])))
    if len(outside):
        told = f"image {outside[0]} has the label {labels[outside[0]]}, and there are {len(meta['classes'])} classes"
        raise DamagedFile(f"{folder}: {told}: {paths.LABELS} and {paths.META} do not belong together; prepare it again")
    photographs = np.array(_array(folder, paths.PHOTOGRAPHS, np.uint64, 1, meta))
    if len(photographs) != len(labels):
        what = f"{len(photographs)} keys of photographs for {len(labels)} images"
        raise DamagedFile(f"{folder}: {what}; prepare it again")
    return Prepared(images, labels, meta, photographs)


def _array(folder: Path, name: str, kind: type[np.generic], axes: int, meta: Meta) -> SealedArray:
    """Open an array of a prepared folder; raise DamagedFile where `meta.json` was written with another one."""
    array = open_array(folder / name, kind, axes)
    if array.seal.identity != meta["arrays"].get(name):
        raise DamagedFile(f"{folder}: {name} and {paths.META} do not belong together; prepare it again")
    return array


def _remedy(name: str) -> str:
    """Say why a file of a prepared folder is missing: keys of photographs came later than the others."""
    if name == paths.PHOTOGRAPHS:
        return "the dataset was prepared by an earlier version: prepare it again"
    return "the dataset is not prepared"


def _shorten(path: Path, out: np.memmap, kept: int) -> None:
    """Cut an npy file to its first images; numpy pads headers so that a shape may change in place."""
    header = {"descr": out.dtype.str, "fortran_order": False, "shape": (kept, *out.shape[1:])}
    with open(path, "r+b") as file:
        write_array_header_1_0(file, header)
        if file.tell() != out.offset:
            raise RuntimeError(f"{path}: the header moved from {out.offset} to {file.tell()} bytes")
        file.truncate(out.offset + kept * out[0].nbytes)


def _describe(
    dataset: Dataset,
    folder: Path,
    skipped: list[int],
    entry: Mapping[str, Any],
    form: str,
    digest: Any,
    arrays: dict[str, str],
) -> None:
    keep = np.setdiff1d(np.arange(len(dataset.labels)), skipped)
    labels = dataset.labels[keep]
    arrays[paths.LABELS] = save_array(folder / paths.LABELS, labels)
    digest.update(labels.tobytes())
    meta: Meta = {
        "n": len(keep),
        "classes": dataset.classes,
        "templates": dataset.templates,
        "entry": dict(entry),
        "skipped": [dataset.names[i] for i in skipped],
        "sha256": digest.hexdigest(),
        "arrays": arrays,
        "form": form,
    }
    if dataset.captions is not None:
        meta["captions"] = [dataset.captions[i] for i in keep]
    if dataset.all_captions is not None:
        meta["all_captions"] = [dataset.all_captions[i] for i in keep]
    if dataset.groups is not None:
        meta["groups"] = [dataset.groups[i] for i in keep]
    if dataset.captions is not None:  # pairs are named one by one in the header of what was made with them
        meta["names"] = [dataset.names[i] for i in keep]
    if dataset.passed_over:
        meta["passed_over"] = dict(dataset.passed_over)
    if dataset.assumed:
        meta["assumed"] = list(dataset.assumed)
    if dataset.label_problem is not None:
        meta["label_problem"] = dataset.label_problem
    save_sealed_json(folder / paths.META, meta)


def _notes(dataset: Dataset, skipped: list[UnreadableImage]) -> Iterator[str]:
    """Say what was passed over, assumed or skipped, a line each; nothing where all went without a question."""
    if dataset.passed_over:
        yield told(len(dataset.labels), dataset.passed_over)
    yield from dataset.assumed
    if skipped:
        yield f"{len(skipped)} of {len(dataset.labels)} images cannot be read and are skipped; the first: {skipped[0]}"


def _decoded(
    dataset: Dataset, form: str, unreadable: str, workers: int
) -> Iterator[tuple[int, int, NDArray[np.uint8] | UnreadableImage]]:
    """Yield number, key and pixels of each image, in order, decoded by several threads; for one to be skipped, why."""

    def one(i: int) -> tuple[int, int, NDArray[np.uint8] | UnreadableImage]:
        try:
            return i, *_keyed(dataset, i, form)
        except UnreadableImage as error:
            if unreadable == "stop":
                raise
            return i, 0, error

    with ThreadPoolExecutor(workers) as pool:  # Pillow decodes without the interpreter's lock
        for start in range(0, len(dataset.labels), AHEAD * workers):
            yield from pool.map(one, range(start, min(start + AHEAD * workers, len(dataset.labels))))


def _first_readable(dataset: Dataset, form: str, unreadable: str) -> NDArray[np.uint8]:
    for i in range(len(dataset.labels)):
        try:
            return _keyed(dataset, i, form)[1]
        except UnreadableImage:
            if unreadable == "stop":
                raise
    raise ValueError(f"none of the {len(dataset.labels)} images can be read; the first is {dataset.names[0]}")


def _keyed(dataset: Dataset, i: int, form: str) -> tuple[int, NDArray[np.uint8]]:
    """Return the key of image i and the image in a form.

    A picture of a file is made RGB when it has its size, as open_clip does; the key is of its RGB before that.
    """
    if form == NATIVE or not isinstance(dataset.read, ImageFiles):
        image = dataset.read(i)
        return photograph_key(image), _fit(image, form)
    picture = dataset.read.open(i)
    try:
        return photograph_key(rgb(picture)), rgb(_resized(picture, form))
    except ValueError as error:  # too long and narrow for the form
        raise UnreadableImage(f"{dataset.names[i]}: {error}") from error


def _fit(image: NDArray[np.uint8], form: str) -> NDArray[np.uint8]:
    """Resize and crop RGB pixels (h, w, 3); `native` images stay as they are."""
    return image if form == NATIVE else np.asarray(_resized(Image.fromarray(image), form))


def _resized(image: Image.Image, name: str) -> Image.Image:
    """Resize, and crop or pad, as open_clip does with PIL, in the picture's own mode."""
    form = parse_form(name)
    height, width = form.scaled(image.height, image.width)
    filtering = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}[form.interpolation]
    resized = image if image.size == (width, height) else image.resize((width, height), filtering)
    top, left = form.offset(height, width)
    if height >= form.height and width >= form.width:
        return resized.crop((left, top, left + form.width, top + form.height))
    return _padded(resized, form, -left, -top)


def _padded(image: Image.Image, form: Form, left: int, top: int) -> Image.Image:
    """Put a picture into a field of the form's size and fill, so many pixels from its left and top.

    Like open_clip, this fills in the picture's own mode: one level for all channels is a colour of the palette where
    there is one, and a share of ink in CMYK. Levels of red, green and blue are those of RGB.
    """
    fill: int | tuple[int, ...] = form.fill[0] if len(set(form.fill)) == 1 else form.fill
    if isinstance(fill, tuple):
        image = image.convert("RGB")
    elif len(image.getbands()) > 1:
        fill = (fill,) * len(image.getbands())
    border = (left, top, form.width - image.width - left, form.height - image.height - top)
    return ImageOps.expand(image, border, fill)
