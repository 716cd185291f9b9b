"""Read PACS (Li et al. 2017): seven classes as photographs, paintings, cartoons and sketches."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from reliquant.images.dataset import Dataset
from reliquant.images.folders import expect, placed, read_folders
from reliquant.images.reading import TEMPLATES, thinned

PLACE = "{domain}"  # below the dataset's folder
HOW = "Get PACS from its authors (Li et al. 2017; research use) and put the folders of its four domains there"
COUNTS = {"art_painting": 2_048, "cartoon": 2_344, "photo": 1_670, "sketch": 3_929}


def dataset(
    root: Path,
    /,
    *,
    domain: Literal["art_painting", "cartoon", "photo", "sketch"],
    part: bool = False,
    templates: list[str] | None = None,
    images: int | None = None,
) -> Dataset:
    """Read `<domain>/<class>/` of a tree that you put in place: say `photo` as the clean set, the others as its shifts.

    `part`: the tree holds only some of the published images. `images` keeps that many, evenly spread. Raises
    FileNotFoundError that says how to get the images, ValueError when their number is not the published one.
    """
    folder = placed(root / PLACE.format(domain=domain), HOW)
    all_images = read_folders(folder, classes=None, prompts=None, templates=templates or TEMPLATES)
    return thinned(expect(all_images, folder, classes=7, total=None if part else COUNTS[domain]), images)
