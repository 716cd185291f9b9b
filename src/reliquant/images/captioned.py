"""Image-caption pairs in files that a person has, of sets that are published as links: WebDataset tars or parquet."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reliquant.images.dataset import Dataset
from reliquant.images.parquet import read_parquet
from reliquant.images.reading import TEMPLATES, chosen, decode, existing, thinned
from reliquant.images.webdataset import facts, samples
from reliquant.images.webdataset import image as image_of

SUFFIXES = (".tar", ".parquet")


def read_captioned(root: Path, files: list[str] | None, /, *, image: str, caption: str, images: int | None) -> Dataset:
    """Read the named files of a folder, or all its tars or parquet files, sorted, but for pairs with a blank caption.

    In a tar a sample is `key.jpg` with `key.txt`, or with `caption` in `key.json`; in a parquet file `image` and
    `caption` name the columns. `images` keeps that many pairs, evenly spread. Raises FileNotFoundError saying what to
    put there, ValueError where files of both kinds lie or a sample has no caption.
    """
    paths = _files(root, files)
    if paths[0].suffix == ".tar":
        found = _from_tars(paths)
    else:
        found = read_parquet(paths, image=image, label=None, caption=caption, templates=TEMPLATES)
    told = np.array([bool(text.strip()) for text in found.captions or []])
    if not told.any():
        raise ValueError(f"{root}: not one of the {len(told)} captions says anything")
    return thinned(found if told.all() else chosen(found, np.flatnonzero(told)), images)


def _files(root: Path, files: list[str] | None) -> list[Path]:
    there = [Path(f).suffix for f in files] if files else [p.suffix for p in root.glob("*") if p.suffix in SUFFIXES]
    if not there:
        raise FileNotFoundError(f"{root}: put image-caption pairs there: WebDataset tars, or parquet files with images")
    if len(set(there)) > 1 or there[0] not in SUFFIXES:
        raise ValueError(f"{root}: tars or parquet files, not {', '.join(sorted(set(there)))}: say which with `files`")
    return existing(root, files, there[0])


def _from_tars(paths: list[Path]) -> Dataset:
    members, names, captions = [], [], []
    for path in paths:
        for key, parts in samples(path).items():
            if (member := image_of(parts)) is None:
                continue
            name, text = f"{path.name}/{key}", facts(key, parts)[1]
            if text is None:
                raise ValueError(f"{name}: has no caption: neither {key}.txt nor `caption` in {key}.json")
            members.append(member)
            names.append(name)
            captions.append(text)
    labels = np.full(len(names), -1, np.int64)
    return Dataset([], TEMPLATES, labels, lambda i: decode(members[i].bytes(), names[i]), names, captions)
