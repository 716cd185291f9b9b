"""Read Flickr30k (Young et al. 2014) in Karpathy's split: 1,000 test images, five captions each."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from reliquant.images.dataset import Dataset
from reliquant.images.karpathy import read_karpathy
from reliquant.images.reading import thinned

CAPTIONED = True  # its images have captions, as a proxy or a retrieval set needs them
HOW = (
    "Ask for the images at shannon.cs.illinois.edu/DenotationGraph, put them there in flickr30k-images/, and put "
    "dataset_flickr30k.json there; Karpathy's tables are in cs.stanford.edu/people/karpathy/deepimagesent/"
    "caption_datasets.zip. Terms: research and education that is not commercial; the photographs are under their "
    "authors' terms on Flickr"
)
FOLDERS = {"": "flickr30k-images"}
COUNTS = {"test": 1_000, "val": 1_014, "train": 29_000}


def dataset(
    root: Path,
    /,
    *,
    split: Literal["test", "val", "train"] = "test",
    captions: int | None = 5,
    part: bool = False,
    images: int | None = None,
) -> Dataset:
    """Read `dataset_flickr30k.json` and the images of a split in `flickr30k-images/`, which you put in place.

    `captions`: the first so many of each image (None: all). `part`: the folder holds only some of the published images.
    `images` keeps that many, evenly spread. Raises FileNotFoundError that says how to get the images, ValueError when
    the split has not as many as were published.
    """
    words = {"split": split, "captions": captions, "total": None if part else COUNTS[split]}
    return thinned(read_karpathy(root, "dataset_flickr30k.json", FOLDERS, HOW, **words), images)
