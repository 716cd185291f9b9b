"""Read images from WebDataset tars: one sample = `key.jpg` with `key.cls`, `key.json` or `key.txt`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reliquant.images.dataset import Dataset
from reliquant.images.reading import TEMPLATES, class_names, decode, existing, number, thinned
from reliquant.images.webdataset import facts, image, samples


def dataset(
    root: Path,
    /,
    *,
    files: list[str] | None = None,
    classes: list[str] | None = None,
    templates: list[str] | None = None,
    images: int | None = None,
) -> Dataset:
    """Read the tars of `root` (by default all, sorted), members by name and in place; nothing is extracted.

    Labels (`cls`, or `label` in `json`) are class names, or numbers whose meaning `classes`, `classes.json` or
    `classnames.txt` beside the tars says; captions come from `txt` or `caption` in `json`. Samples without an image
    are passed over. `images` keeps that many, evenly spread. Raises ValueError naming a sample that lacks the label or
    caption which others have.
    """
    paths = existing(root, files, ".tar")
    members, names, labels, captions = [], [], [], []
    for path in paths:
        for key, parts in samples(path).items():
            if (member := image(parts)) is not None:
                label, caption = facts(key, parts)
                members.append(member)
                names.append(f"{path.name}/{key}")
                labels.append(label)
                captions.append(caption)
    known = class_names(root, classes)
    if all(label is None for label in labels):
        numbers, known = np.full(len(labels), -1, np.int64), known or []
    else:
        numbers, known = number(labels, known, names)
    bare = next((name for name, caption in zip(names, captions, strict=True) if caption is None), None)
    if bare is not None and any(caption is not None for caption in captions):
        raise ValueError(f"{bare}: has no caption, but other samples have")
    all_images = Dataset(
        classes=known,
        templates=templates or TEMPLATES,
        labels=numbers,
        read=lambda i: decode(members[i].bytes(), names[i]),
        names=names,
        captions=None if bare is not None else captions,
    )
    return thinned(all_images, images)
