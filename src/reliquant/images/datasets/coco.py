"""Read COCO's captioned photographs (Lin et al. 2014) in Karpathy's split: 5,000 test images, five captions each."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from reliquant.images.dataset import Dataset
from reliquant.images.karpathy import read_karpathy
from reliquant.images.reading import thinned

CAPTIONED = True  # its images have captions, as a proxy or a retrieval set needs them
HOW = (
    "Get val2014.zip (and train2014.zip, for split train) from cocodataset.org, unpack it there as val2014/, and put "
    "dataset_coco.json there; Karpathy's tables are in cs.stanford.edu/people/karpathy/deepimagesent/"
    "caption_datasets.zip. Terms: the captions are CC BY 4.0; the photographs are under their authors' terms on Flickr"
)
FOLDERS = {"val2014": "val2014", "train2014": "train2014"}
COUNTS = {"test": 5_000, "val": 5_000, "train": 82_783, "restval": 30_504}


def dataset(
    root: Path,
    /,
    *,
    split: Literal["test", "val", "train", "restval"] = "test",
    captions: int | None = 5,
    part: bool = False,
    images: int | None = None,
) -> Dataset:
    """Read `dataset_coco.json` and the images of a split in `val2014/` (and `train2014/`), which you put in place.

    `captions`: the first so many of each image (None: all; some images have six or seven). `part`: the folders hold
    only some of the published images. `images` keeps that many, evenly spread. Raises FileNotFoundError that says how
    to get the images, ValueError when the split has not as many as were published.
    """
    words = {"split": split, "captions": captions, "total": None if part else COUNTS[split]}
    return thinned(read_karpathy(root, "dataset_coco.json", FOLDERS, HOW, **words), images)
