"""Read images from WebDataset tars: one sample = `key.jpg` with `key.cls`, `key.json` or `key.txt`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from reliquant.images.dataset import Dataset
from reliquant.images.decoding import ImageFiles, opened
from reliquant.images.numbering import numbered
from reliquant.images.reading import TEMPLATES, class_names, existing, thinned
from reliquant.images.webdataset import facts, image, samples


def dataset(
    root: Path,
    /,
    *,
    files: list[str] | None = None,
    classes: list[str] | None = None,
    templates: list[str] | None = None,
    images: int | None = None,
) -> Dataset:
    """Read the tars of `root` (by default all, sorted), members by name and in place; nothing is extracted.

    Labels (`cls`, or `label` in `json`) are class names, or numbers whose meaning `classes`, `classes.json` or
    `classnames.txt` beside the tars says; captions come from `txt` or `caption` in `json`. Members that are neither are
    counted. `images` keeps that many, evenly spread. Raises ValueError for tars without images.
    """
    tars = existing(root, files, "tar")
    members, names, labels, captions = [], [], [], []
    passed_over = Counter(tars.passed_over)
    for tar in tars.names:
        found = samples(root / tar)
        passed_over += found.passed_over
        for key, parts in found.by_key.items():
            label, caption = facts(key, parts)
            members.append(image(parts))
            names.append(f"{tar}/{key}")
            labels.append(label)
            captions.append(caption)
    if not names:
        raise ValueError(f"{root}: {', '.join(tars.names)}: holds no images; members are {dict(passed_over)}")
    numbers = numbered(labels, class_names(root, classes), names)
    bare = next((name for name, caption in zip(names, captions, strict=True) if caption is None), None)
    all_images = Dataset(
        classes=numbers.classes,
        templates=templates or TEMPLATES,
        labels=numbers.numbers,
        read=ImageFiles(lambda i: opened(members[i].bytes(), names[i])),
        names=names,
        captions=None if bare is not None else captions,
        label_problem=numbers.problem,
        caption_problem=f"{bare}: has no caption: neither a txt nor a caption in a json",
        passed_over=passed_over,
    )
    return thinned(all_images, images)
