"""Karpathy and Fei-Fei's (2015) splits of COCO and Flickr30k: a table of captioned images, with these beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from reliquant.files.artifacts import read_json
from reliquant.images.dataset import Dataset
from reliquant.images.decoding import ImageFiles, opened
from reliquant.images.reading import TEMPLATES
from reliquant.names import file_problem


def read_karpathy(
    root: Path,
    table: str,
    folders: Mapping[str, str],
    how: str,
    /,
    *,
    split: str,
    captions: int | None,
    total: int | None,
) -> Dataset:
    """Read the images of a split that a table names, each with its first `captions` (None: all of them).

    `folders` says in which folder of `root` the images lie whose `filepath` is its key ("" where a table names none).
    Raises FileNotFoundError saying how to get what is missing, ValueError naming the table where an image has fewer
    captions, a name is none of a file, or the split has not `total` images (None: any number, and what is missing of
    the images is passed over).
    """
    path = root / table
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file. {how}")
    listed = [one for one in _listed(path) if one.get("split") == split]
    if total is not None and len(listed) != total:
        raise ValueError(f"{path}: {total} images of split {split!r} are expected; there are {len(listed)}")
    names = [_place(one, folders, path) for one in listed]
    texts = [_captions(one, captions, f"{path}: {one['filename']}") for one in listed]
    there = [i for i, name in enumerate(names) if (root / name).is_file()]
    missing = len(names) - len(there)
    if missing and (total is not None or not there):
        lacking = next(name for i, name in enumerate(names) if not (root / name).is_file())
        raise FileNotFoundError(f"{root / lacking}: no such file, as {missing} of {len(names)} images. {how}")
    names, texts = [names[i] for i in there], [texts[i] for i in there]
    return Dataset(
        classes=[],
        templates=TEMPLATES,
        labels=np.full(len(names), -1, np.int64),
        read=ImageFiles(lambda i: opened(root / names[i], names[i])),
        names=names,
        captions=[of_image[0] for of_image in texts],
        all_captions=texts,
        label_problem="is read for its captions, without labels",
        passed_over={"(an image that is not there)": missing} if missing else {},
    )


def _listed(path: Path) -> list[dict[str, Any]]:
    listed = read_json(path).get("images")
    if not isinstance(listed, list) or not all(isinstance(one, dict) and "filename" in one for one in listed):
        raise ValueError(
            f"{path}: must hold `images`, each with filename, split and sentences, as Karpathy's tables do"
        )
    return listed


def _place(one: Mapping[str, Any], folders: Mapping[str, str], path: Path) -> str:
    """Return where an image lies below the root; raise ValueError for a name that leads elsewhere."""
    name, folder = str(one["filename"]), str(one.get("filepath", ""))
    if problem := file_problem(name):
        raise ValueError(f"{path}: the filename of an image {problem}, got {name[:100]!r}")
    if folder not in folders:
        known = ", ".join(map(repr, folders))
        raise ValueError(f"{path}: {name}: filepath {folder[:100]!r} is none of {known}")
    return f"{folders[folder]}/{name}"


def _captions(one: Mapping[str, Any], captions: int | None, about: str) -> list[str]:
    sentences = one.get("sentences")
    found = (
        [str(s.get("raw", "")).strip() for s in sentences if isinstance(s, dict)] if isinstance(sentences, list) else []
    )
    found = [text for text in found if text]
    if len(found) < (captions or 1):
        raise ValueError(f"{about}: has {len(found)} captions; {captions or 1} are expected")
    return found[:captions]
