"""Image-caption pairs in files that a person has, of sets that are published as links: WebDataset tars or parquet."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from reliquant.images.dataset import Dataset
from reliquant.images.formats import kind_of
from reliquant.images.parquet import read_parquet
from reliquant.images.reading import TEMPLATES, chosen, existing, thinned
from reliquant.images.walking import find_files
from reliquant.images.webdataset import read_tars

BLANK = "(without a caption)"


def read_captioned(
    root: Path,
    files: list[str] | None,
    /,
    *,
    image: str | None,
    caption: str | None,
    images: int | None,
    several: bool = False,
) -> Dataset:
    """Read the pairs of the named files of a folder, or of all its tars or parquet files, sorted.

    In a tar a sample is `key.jpg` with `key.txt`, or with a caption in `key.json`; in a parquet file `image` and
    `caption` name the columns, found by usual names otherwise. Pairs with a blank caption are counted and left out;
    `images` keeps so many of the others, evenly spread. `several`: of a list of captions all are kept, not the first
    alone. Raises FileNotFoundError saying what to put there, ValueError
    where files of both kinds lie, a sample has no caption, or all captions are blank.
    """
    kind = _kind(root, files)
    found = existing(root, files, kind)
    paths = [root / name for name in found.names]
    if kind == "tar":
        pairs = _from_tars(paths, several)
    else:
        pairs = read_parquet(paths, image=image, label=None, caption=caption, templates=TEMPLATES, several=several)
    if pairs.captions is None:
        raise ValueError(pairs.caption_problem)
    says_something = np.array([bool(text.strip()) for text in pairs.captions])
    blank = int((~says_something).sum())
    if blank == len(says_something):
        raise ValueError(f"{root}: not one of the {blank} captions says anything")
    passed_over = Counter(pairs.passed_over) + found.passed_over + Counter({BLANK: blank})
    pairs = replace(pairs, passed_over=passed_over)
    return thinned(chosen(pairs, np.flatnonzero(says_something)) if blank else pairs, images)


def _kind(root: Path, files: list[str] | None) -> str:
    if files:
        paths = [root / file for file in files]
    else:
        paths = [root / name for kind in ("tar", "parquet") for name in _names(root, kind)]
    kinds = sorted({kind_of(path) for path in paths})
    if not kinds:
        raise FileNotFoundError(f"{root}: put image-caption pairs there: WebDataset tars, or parquet files with images")
    if len(kinds) > 1 or kinds[0] not in ("tar", "parquet"):
        raise ValueError(f"{root}: tars or parquet files, not {', '.join(kinds)}: say which with `files`")
    return kinds[0]


def _names(root: Path, kind: str) -> list[str]:
    return find_files(root, kind).names if root.is_dir() else []


def _from_tars(paths: list[Path], several: bool) -> Dataset:
    found = read_tars(paths)
    for name, caption in zip(found.names, found.captions, strict=True):
        if caption is None:
            key = name.partition("/")[2]
            raise ValueError(f"{name}: has no caption: neither {key}.txt nor `caption` in {key}.json")
    every = [texts or [""] for texts in found.all_captions] if several else None
    return Dataset(
        classes=[],
        templates=TEMPLATES,
        labels=np.full(len(found.names), -1, np.int64),
        read=found.read,
        names=found.names,
        captions=[texts[0] for texts in every] if every else [caption or "" for caption in found.captions],
        all_captions=every,
        label_problem="is read for its captions, without labels",
        passed_over=found.passed_over,
    )
