"""Read captioned images of your own, with one caption each or several: WebDataset tars or parquet files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from reliquant.images.captioned import read_captioned
from reliquant.images.dataset import Dataset

CAPTIONED = True  # its images have captions, as a proxy or a retrieval set needs them
HOW = (
    "Put captioned images there: WebDataset tars, key.jpg with key.txt or with `caption` (a text, or a list of them) "
    "in key.json, or parquet files with a column of images and one of captions (texts, or lists of texts)"
)


def dataset(
    root: Path,
    /,
    *,
    files: list[str] | None = None,
    image: str | None = None,
    caption: str | None = None,
    lines: bool = False,
    images: int | None = None,
) -> Dataset:
    """Read the tars or parquet files in `root` (`files`, or all of one kind) with every caption that an image has.

    `image` and `caption` name columns of parquet files. `lines`: each line of a text is a caption of its own, as
    CLIP_benchmark writes its retrieval sets; else a text is one caption. An image that comes several times, each with
    another caption, is one image with all of them when it is embedded. `images` keeps that many, evenly spread.
    """
    found = read_captioned(root, files, image=image, caption=caption, images=images, several=True)
    every = found.all_captions or []
    long = sum("\n" in text.strip() for texts in every for text in texts)
    if not lines:
        told = f"{long} captions have several lines, each is read as one; `lines: true` makes each line a caption"
        return replace(found, assumed=(*found.assumed, told)) if long else found
    split = [_lines(texts) for texts in every]
    return replace(found, captions=[texts[0] for texts in split], all_captions=split)


def _lines(texts: list[str]) -> list[str]:
    """Return the lines that say something of all texts, in their order."""
    lines = "\n".join(texts).splitlines()
    return [line.strip() for line in lines if line.strip()]
