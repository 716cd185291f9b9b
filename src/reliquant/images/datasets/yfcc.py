"""Read YFCC100M (Thomee et al. 2016), such as the 15 million photographs with English text that CLIP was trained on."""

from __future__ import annotations

from pathlib import Path

from reliquant.images.captioned import read_captioned
from reliquant.images.dataset import Dataset

CAPTIONED = True  # its images have captions, as a proxy or a retrieval set needs them
HOW = (
    "Get the table of YFCC100M (multimediacommons.wordpress.com/yfcc100m-core-dataset), keep the photographs that "
    "github.com/openai/CLIP lists in data/yfcc100m.md or others, run img2dataset (github.com/rom1504/img2dataset) on "
    "links and captions with --output_format webdataset, and put its tars there. Terms: the Creative Commons licence "
    "that each photograph's author chose"
)


def dataset(
    root: Path,
    /,
    *,
    files: list[str] | None = None,
    image: str | None = None,
    caption: str | None = None,
    images: int | None = None,
) -> Dataset:
    """Read the WebDataset tars (img2dataset writes them) or parquet files in `root`: `files`, or all.

    The set is published as a table of links to Flickr, and copies of it differ,
    so that no download could be checked against a sum: the files are yours, and the header of a variant says which
    pairs it saw. `image` and `caption` name columns of parquet files; `images` keeps that many pairs, evenly spread.
    """
    return read_captioned(root, files, image=image, caption=caption, images=images)
