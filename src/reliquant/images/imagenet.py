"""ImageNet's 1,000 classes: their WordNet ids from timm, names and prompts from open_clip, and trees of them."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from reliquant.images.dataset import Dataset
from reliquant.images.folders import read_folders

TEMPLATES = ["a photo of a {}."]


@cache
def wnids() -> list[str]:
    """Return the 1,000 WordNet ids in the order of the labels (timm's `imagenet_synsets.txt`)."""
    return _timm("imagenet_synsets.txt")


@cache
def names() -> list[str]:
    """Return what open_clip calls the 1,000 classes, in the order of the labels."""
    return list(_open_clip().IMAGENET_CLASSNAMES)


def templates(which: str | list[str] | None, /) -> list[str]:
    """Return prompt templates: a given list as it is, the 80 of CLIP for `openai`, a single one for None."""
    if isinstance(which, list):
        return which
    return TEMPLATES if which is None else [template("{}") for template in _open_clip().OPENAI_IMAGENET_TEMPLATES]


def subset(name: str, /) -> list[str]:
    """Return the WordNet ids of a 200-class subset: `a` (ImageNet-A) or `r` (ImageNet-R)."""
    return _timm(f"imagenet_{name}_synsets.txt")


def read_wnids(
    root: Path, /, *, only: Sequence[str] | None = None, own: bool = False, prompts: str | list[str] | None = None
) -> Dataset:
    """Read a tree whose folders are named by WordNet id (`only` these, else all 1,000), labelled among the 1,000.

    With `own`, images are labelled among the ids of `only` instead, as ImageNet-A and -R are usually reported.
    """
    ids = wnids()
    kept = [i for i, wnid in enumerate(ids) if only is None or wnid in set(only)]  # labels among the 1,000
    dataset = read_folders(
        root,
        classes=[ids[i] for i in kept],
        prompts=[names()[i] for i in kept],
        templates=templates(prompts),
        others=only is not None,
    )
    if own:
        return dataset
    return replace(dataset, classes=names(), labels=np.array(kept, np.int64)[dataset.labels])


def _timm(name: str) -> list[str]:
    folder = importlib.util.find_spec("timm").submodule_search_locations[0]
    return (Path(folder) / "data" / "_info" / name).read_text().split()


@cache
def _open_clip() -> Any:
    """Load open_clip's word lists alone: the package itself would import torch."""
    folder = importlib.util.find_spec("open_clip").submodule_search_locations[0]
    spec = importlib.util.spec_from_file_location("zero_shot_metadata", Path(folder) / "zero_shot_metadata.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
