"""Read images from parquet files, as the Hugging Face hub publishes them, or captioned pairs."""

from __future__ import annotations

from pathlib import Path

from reliquant.images.dataset import Dataset
from reliquant.images.parquet import read_parquet
from reliquant.images.reading import TEMPLATES, existing, thinned


def dataset(
    root: Path,
    /,
    *,
    files: list[str] | None = None,
    image: str = "image",
    label: str | None = "label",
    name: str | None = None,
    caption: str | None = None,
    classes: list[str] | None = None,
    templates: list[str] | None = None,
    images: int | None = None,
) -> Dataset:
    """Read the parquet files of `root` (by default all, sorted).

    `image`, `label`, `name`, `caption` name columns; `label: null` where there are captions only. Labels are class
    names, or numbers whose meaning `classes`, the file's Hugging Face header or `classes.json` beside it says.
    `images` keeps that many, evenly spread.
    """
    columns = {"image": image, "label": label, "name": name, "caption": caption}
    paths = existing(root, files, ".parquet")
    return thinned(read_parquet(paths, **columns, classes=classes, templates=templates or TEMPLATES), images)
