"""Read Tiny ImageNet's validation images: 200 classes, 64 x 64, near CIFAR-10's distribution."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reliquant.download.source import Source
from reliquant.images.dataset import Dataset
from reliquant.images.decoding import ImageFiles, opened
from reliquant.images.numbering import number
from reliquant.images.parquet import read_parquet
from reliquant.images.reading import TEMPLATES, chosen, class_names, thinned

SOURCES = (
    Source(
        url="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        sha256="6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821",
        bytes=248_100_043,
        licence="ImageNet terms: non-commercial research and education",
        unpack=True,
    ),
)
IMAGES = 10_000  # of the official validation split


def dataset(
    root: Path,
    /,
    *,
    exclude: list[str] | None = None,
    templates: list[str] | None = None,
    images: int | None = None,
) -> Dataset:
    """Read `tiny-imagenet-200/` as the official archive unpacks, or `val.parquet` with `classes.json` in `root`.

    A class is called by the first of its WordNet synonyms. `exclude` leaves out the images of classes that the
    in-distribution set also has; `images` then keeps that many, evenly spread. Raises ValueError when an excluded
    class is unknown or the official folder does not hold 10,000 images.
    """
    official = root / "tiny-imagenet-200"
    templates = templates or TEMPLATES
    if official.is_dir():
        all_images = _official(official, templates)
    else:
        names = [name.split(",")[0] for name in class_names(root, None) or []] or None
        if not (root / "val.parquet").is_file():
            raise FileNotFoundError(f"{root}: holds neither {official.name}/ nor val.parquet")
        all_images = read_parquet([root / "val.parquet"], classes=names, name="name", templates=templates)
    unknown = sorted(set(exclude or []) - set(all_images.classes))
    if unknown:
        raise ValueError(f"exclude: {', '.join(unknown)}: no such class in {root}")
    left_out = [all_images.classes.index(name) for name in exclude or []]
    return thinned(chosen(all_images, np.flatnonzero(~np.isin(all_images.labels, left_out))), images)


def _official(folder: Path, templates: list[str]) -> Dataset:
    wnids = (folder / "wnids.txt").read_text().split()
    lines = (folder / "words.txt").read_text(encoding="utf-8").splitlines()
    words = {wnid: name.split(",")[0] for wnid, name in (line.split("\t", 1) for line in lines if line)}
    rows = [line.split("\t")[:2] for line in (folder / "val" / "val_annotations.txt").read_text().splitlines() if line]
    paths = [folder / "val" / "images" / name for name, _ in rows]
    missing = [path.name for path in paths if not path.is_file()]
    if len(rows) != IMAGES or missing:
        raise ValueError(
            f"{folder / 'val'}: {IMAGES} images are expected; {len(rows)} are listed, missing: {missing[:5]}"
        )
    labels, _ = number([wnid for _, wnid in rows], wnids, [path.name for path in paths])
    return Dataset(
        classes=[words[wnid] for wnid in wnids],
        templates=templates,
        labels=labels,
        read=ImageFiles(lambda i: opened(paths[i], str(paths[i]))),
        names=[path.name for path in paths],
    )
