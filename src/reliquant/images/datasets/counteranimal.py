"""Read CounterAnimal (Wang et al. 2024): animals before the background that goes with them, or before another."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from reliquant.images.dataset import Dataset
from reliquant.images.decoding import ImageFiles, opened
from reliquant.images.folders import expect, images_below, placed
from reliquant.images.imagenet import names, templates, wnids
from reliquant.images.reading import thinned

HOW = (
    "Get CounterAnimal from its authors' page, counteranimal.github.io (Wang et al. 2024; iNaturalist photographs, "
    "research use), and unpack it there"
)
CLASSES, COUNTS = 45, {"common": 7_174, "counter": 5_926}


def dataset(
    root: Path, /, *, prompts: list[str] | Literal["openai"] | None = None, images: int | None = None
) -> Dataset:
    """Read `<class>/<common or counter ...>/` of a tree that you put in place; labels are among ImageNet's 1,000.

    A class folder starts with the class's WordNet id or its number (0 to 999), the folders in it with `common` or
    `counter`; the authors' own layout could not be checked from here. `prompts`: templates, or `openai` for CLIP's 80.
    `images` keeps that many, evenly spread. Raises FileNotFoundError that says how to get the images, ValueError
    naming a folder that is neither, or a group without the published number of images.
    """
    top = placed(root, HOW)
    files, labels, groups = [], [], []
    for folder in sorted(path for path in top.glob("*/*") if path.is_dir()):
        paths, label, group = images_below(folder), _label(folder.parent), _group(folder)
        files += paths
        labels += [label] * len(paths)
        groups += [group] * len(paths)
    all_images = Dataset(
        classes=names(),
        templates=templates(prompts),
        labels=np.array(labels, np.int64),
        read=ImageFiles(lambda i: opened(files[i], str(files[i]))),
        names=[path.relative_to(top).as_posix() for path in files],
        groups=groups,
    )
    for group, total in COUNTS.items():
        if groups.count(group) != total:
            raise ValueError(f"{top}: {total} {group} images are expected; there are {groups.count(group)}")
    return thinned(expect(all_images, top, classes=CLASSES), images)


def _label(folder: Path) -> int:
    word = folder.name.replace("_", " ").replace("-", " ").split()[0]
    if word in wnids():
        return wnids().index(word)
    if word.isdecimal() and int(word) < len(names()):
        return int(word)
    raise ValueError(f"{folder}: starts with neither a WordNet id of ImageNet nor a class number from 0 to 999")


def _group(folder: Path) -> str:
    for group in COUNTS:
        if folder.name.lower().startswith(group):
            return group
    raise ValueError(f"{folder}: starts with neither 'common' nor 'counter'")
