"""Read Conceptual Captions (Sharma et al. 2018): 3.3 million alt texts of web images, cleaned by a machine."""

from __future__ import annotations

from pathlib import Path

from reliquant.images.captioned import read_captioned
from reliquant.images.dataset import Dataset

CAPTIONED = True  # its images have captions, as a proxy or a retrieval set needs them
HOW = (
    "Get the table of captions and links from ai.google.com/research/ConceptualCaptions/download, write a first line "
    "above it (caption, tab, url), run img2dataset (github.com/rom1504/img2dataset) on it with --input_format tsv "
    "--url_col url --caption_col caption --output_format webdataset, and put its tars there. Terms: free for any "
    "purpose, Google asks to be named (the table); photographs belong to their owners"
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

    The set is published as a table of captions and links, many of them dead,
    so that no download could be checked against a sum: the files are yours, and the header of a variant says which
    pairs it saw. `image` and `caption` name columns of parquet files; `images` keeps that many pairs, evenly spread.
    """
    return read_captioned(root, files, image=image, caption=caption, images=images)
