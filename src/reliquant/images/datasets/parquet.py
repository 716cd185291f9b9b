"""Read images from parquet files, as the Hugging Face hub publishes them, or captioned pairs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from reliquant.images.dataset import Dataset
from reliquant.images.parquet import read_parquet
from reliquant.images.reading import TEMPLATES, existing, thinned

CAPTIONED = True  # its images may have captions, as a proxy or a retrieval set needs them


def dataset(
    root: Path,
    /,
    *,
    files: list[str] | None = None,
    image: str | None = None,
    label: str | None = "label",
    name: str | None = None,
    caption: str | None = None,
    classes: list[str] | None = None,
    templates: list[str] | None = None,
    images: int | None = None,
) -> Dataset:
    """Read the parquet files of `root` (by default all, sorted).

    `image`, `label`, `name`, `caption` name columns; those of images and captions are found by type and usual names
    otherwise, and `label: null` reads no labels. Images are bytes in the file, or paths beside it. Labels are class
    names, or numbers whose meaning `classes`, the file's Hugging Face header or `classes.json` beside it says. Of
    several captions the first is taken. `images` keeps that many, evenly spread.
    """
    found = existing(root, files, "parquet")
    columns = {"image": image, "label": label, "name": name, "caption": caption}
    words = {"classes": classes, "templates": templates or TEMPLATES}
    all_images = read_parquet([root / name for name in found.names], **columns, **words)
    return thinned(replace(all_images, passed_over=found.passed_over), images)
