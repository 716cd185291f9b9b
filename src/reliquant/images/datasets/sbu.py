"""Read SBU Captions (Ordonez et al. 2011): a million photographs of Flickr with what their owners wrote."""

from __future__ import annotations

from pathlib import Path

from reliquant.images.captioned import read_captioned
from reliquant.images.dataset import Dataset

CAPTIONED = True  # its images have captions, as a proxy or a retrieval set needs them
HOW = (
    "Get sbu-captions-all.tar.gz from www.cs.rice.edu/~vo9/sbucaptions, unpack it, run img2dataset "
    "(github.com/rom1504/img2dataset) on its sbu-captions-all.json with --input_format json --url_col image_urls "
    "--caption_col captions --output_format webdataset, and put its tars there. Terms: see that page; photographs "
    "belong to their authors on Flickr"
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

    The set is published as a list of links, many of them dead,
    so that no download could be checked against a sum: the files are yours, and the header of a variant says which
    pairs it saw. `image` and `caption` name columns of parquet files; `images` keeps that many pairs, evenly spread.
    """
    return read_captioned(root, files, image=image, caption=caption, images=images)
