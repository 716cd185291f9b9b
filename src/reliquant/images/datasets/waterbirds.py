"""Read Waterbirds (Sagawa et al. 2020): birds pasted on the background that goes with them, or on the other."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from reliquant.download.source import Source
from reliquant.images.dataset import Dataset
from reliquant.images.decoding import ImageFiles, opened
from reliquant.images.reading import TEMPLATES, thinned

SOURCES = (
    Source(
        url="https://nlp.stanford.edu/data/dro/waterbird_complete95_forest2water2.tar.gz",
        sha256=None,  # not known to us: the first fetch records it
        bytes=None,
        licence="research use; birds of CUB-200-2011, backgrounds of Places",
        unpack=True,
    ),
)
FOLDER = "waterbird_complete95_forest2water2"
SPLITS = {"train": (0, 4_795), "val": (1, 1_199), "test": (2, 5_794)}  # number in the list, images


def dataset(
    root: Path,
    /,
    *,
    split: Literal["train", "val", "test"] = "test",
    templates: list[str] | None = None,
    images: int | None = None,
) -> Dataset:
    """Read a split that `metadata.csv` lists: `y` is the bird, `place` the background (0 land, 1 water).

    Groups: `common` where bird and background go together, `counter` where not. `images` keeps that many, evenly
    spread. Raises FileNotFoundError without the list, ValueError when it does not list the published number.
    """
    path = root / FOLDER / "metadata.csv"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    number, total = SPLITS[split]
    rows = pl.read_csv(path, glob=False).filter(pl.col("split") == number)
    if len(rows) != total:
        raise ValueError(f"{path}: {total} images of the {split} split are expected; {len(rows)} are listed")
    files = [path.parent / name for name in rows["img_filename"]]
    all_images = Dataset(
        classes=["landbird", "waterbird"],
        templates=templates or TEMPLATES,
        labels=rows["y"].to_numpy().astype(np.int64),
        read=ImageFiles(lambda i: opened(files[i], str(files[i]))),
        names=rows["img_filename"].to_list(),
        groups=["common" if same else "counter" for same in rows["y"] == rows["place"]],
    )
    return thinned(all_images, images)
