"""Read images from WebDataset tars: one sample = `key.jpg` with `key.cls`, `key.json` or `key.txt`."""

from __future__ import annotations

from pathlib import Path

from reliquant.images.dataset import Dataset
from reliquant.images.numbering import numbered, odd_names
from reliquant.images.reading import TEMPLATES, class_names, existing, thinned
from reliquant.images.webdataset import read_tars

CAPTIONED = True  # its images may have captions, as a proxy or a retrieval set needs them


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
    `classnames.txt` beside the tars says; captions come from `txt` or `caption` in `json`. Members that are neither are
    counted. `images` keeps that many, evenly spread. Raises ValueError for tars without images.
    """
    tars = existing(root, files, "tar")
    found = read_tars([root / name for name in tars.names])
    labels = numbered(found.labels, class_names(root, classes), found.names)
    captions = [caption for caption in found.captions if caption is not None]
    bare = None if len(captions) == len(found.names) else found.names[found.captions.index(None)]
    all_images = Dataset(
        classes=labels.classes,
        templates=templates or TEMPLATES,
        labels=labels.numbers,
        read=found.read,
        names=found.names,
        captions=None if bare else captions,
        label_problem=labels.problem,
        caption_problem=f"{bare}: has no caption: neither a txt nor a caption in a json" if bare else None,
        passed_over=tars.passed_over + found.passed_over,
        assumed=odd_names(labels.classes),
    )
    return thinned(all_images, images)
