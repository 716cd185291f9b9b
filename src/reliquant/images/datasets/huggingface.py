"""Read parquet files or captioned WebDataset tars of a repository on the Hugging Face hub, at a pinned revision."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from reliquant.download.source import Source
from reliquant.images.captioned import read_captioned
from reliquant.images.dataset import Dataset
from reliquant.images.parquet import read_parquet
from reliquant.images.reading import TEMPLATES, existing, thinned

CAPTIONED = True  # its images may have captions, as a proxy or a retrieval set needs them


def sources(*, repo: str, revision: str, files: list[str], hub: str = "https://huggingface.co", **_: object) -> tuple:
    """Return where the files of a repository's revision are published; the first fetch records their sha256.

    The default `hub` is replaced by the mirror in `HF_ENDPOINT` when they are fetched. Raises ValueError for a revision
    that is no commit (40 hexadecimal digits), as a branch moves, and for two files of one name.
    """
    if len(revision) != 40 or set(revision) - set("0123456789abcdef"):
        raise ValueError(f"huggingface: revision {revision!r}: give the 40 digits of a commit; a branch moves")
    if len({PurePosixPath(file).name for file in files}) < len(files):
        raise ValueError(f"dataset 'huggingface': files: two have the same name: {', '.join(files)}")
    at, terms = f"{hub}/datasets/{repo}/resolve/{revision}", f"see {hub}/datasets/{repo}"
    return tuple(Source(f"{at}/{file}", None, None, terms) for file in files)


def dataset(
    root: Path,
    /,
    *,
    repo: str,
    revision: str,
    files: list[str],
    hub: str = "https://huggingface.co",
    image: str | None = None,
    label: str | None = "label",
    caption: str | None = None,
    classes: list[str] | None = None,
    templates: list[str] | None = None,
    images: int | None = None,
) -> Dataset:
    """Read the `files` of `repo` at `revision`, as fetched into `root` (their last names are kept).

    `image`, `label`, `caption` name columns, found by usual names and types otherwise; class names are those of the
    files' header unless `classes` gives them.
    Tars are read as image-caption pairs, `key.jpg` with `key.txt`: proxies such as CC3M are there in that form.
    `images` keeps that many, evenly spread. Give the entry a `folder` of its own: a folder holds one repository.
    """
    names = [PurePosixPath(file).name for file in files]
    if all(name.endswith(".tar") for name in names):
        return read_captioned(root, names, image=image, caption=caption, images=images)
    paths = [root / name for name in existing(root, names, "parquet").names]
    columns = {"image": image, "label": label, "caption": caption}
    return thinned(read_parquet(paths, **columns, classes=classes, templates=templates or TEMPLATES), images)
