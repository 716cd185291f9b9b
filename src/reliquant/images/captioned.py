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
    """Read the pairs of the named files of a folder, or of all its tars or parquet files, sorted.

    In a tar a sample is `key.jpg` with `key.txt`, or with `caption` in `key.json`; in a parquet file `image` and
    `caption` name the columns. Pairs with a blank caption are left out; `images` keeps so many of the others, evenly
    spread. Raises FileNotFoundError saying what to put there, ValueError where files of both kinds lie, a sample has no
    caption, or all captions are blank.
    """
    paths = _files(root, files)
    if paths[0].suffix == ".tar":
        pairs = _from_tars(paths)
    else:
        pairs = read_parquet(paths, image=image, label=None, caption=caption, templates=TEMPLATES)
    says_something = np.array([bool(text.strip()) for text in pairs.captions or []])
    if not says_something.any():
        raise ValueError(f"{root}: not one of the {len(says_something)} captions says anything")
    if not says_something.all():
        pairs = chosen(pairs, np.flatnonzero(says_something))
    return thinned(pairs, images)


def _files(root: Path, files: list[str] | None) -> list[Path]:
    if files:
        suffixes = sorted({Path(file).suffix for file in files})
    else:
        suffixes = sorted({path.suffix for path in root.glob("*") if path.suffix in SUFFIXES})
    if not suffixes:
        raise FileNotFoundError(f"{root}: put image-caption pairs there: WebDataset tars, or parquet files with images")
    if len(suffixes) > 1 or suffixes[0] not in SUFFIXES:
        raise ValueError(f"{root}: tars or parquet files, not {', '.join(suffixes)}: say which with `files`")
    return existing(root, files, suffixes[0])


def _from_tars(paths: list[Path]) -> Dataset:
    members, names, captions = [], [], []
    for path in paths:
        for key, parts in samples(path).items():
            member = image_of(parts)
            if member is None:
                continue
            name, text = f"{path.name}/{key}", facts(key, parts)[1]
            if text is None:
                raise ValueError(f"{name}: has no caption: neither {key}.txt nor `caption` in {key}.json")
            members.append(member)
            names.append(name)
            captions.append(text)
    labels = np.full(len(names), -1, np.int64)
    return Dataset([], TEMPLATES, labels, lambda i: decode(members[i].bytes(), names[i]), names, captions)
