"""Read the images that CSV or TSV files name, with their labels or captions: `path,label` above, a line each."""

from __future__ import annotations

from pathlib import Path

from reliquant.images.dataset import Dataset
from reliquant.images.listed import read_listed
from reliquant.images.reading import TEMPLATES, existing, thinned

CAPTIONED = True  # its images may have captions, as a proxy or a retrieval set needs them


def dataset(
    root: Path,
    /,
    *,
    files: list[str] | None = None,
    image: str | None = None,
    label: str | None = "label",
    caption: str | None = None,
    classes: list[str] | None = None,
    templates: list[str] | None = None,
    images: int | None = None,
) -> Dataset:
    """Read the tables of `root` (by default all .csv and .tsv files, sorted); paths are relative to that folder.

    `image`, `label`, `caption` name columns, by default those that are usual (path or file_name, label, caption or
    text). Labels are class names, or numbers whose meaning `classes`, `classes.json` or `classnames.txt` beside the
    table says. `images` keeps that many, evenly spread.
    """
    found = existing(root, files, "csv")
    columns = {"image": image, "label": label, "caption": caption}
    words = {"classes": classes, "templates": templates or TEMPLATES}
    return thinned(read_listed([root / name for name in found.names], **columns, **words), images)
