"""Caption CIFAR-10's training images from templates, cleanly or as a crawler would: what small CLIPs are trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from reliquant.images import cifar
from reliquant.images.dataset import Dataset
from reliquant.images.reading import thinned

SOURCES = cifar.SOURCES
CAPTIONED = True  # its images have captions, as a proxy or a retrieval set needs them
SAME_IMAGES = ("source", "seed")  # words that change only what captions say
ALSO = {  # what people call the classes
    "airplane": ["plane", "jet"], "automobile": ["car"], "bird": ["sparrow"], "cat": ["kitten"], "deer": ["stag"],
    "dog": ["puppy"], "frog": ["toad"], "horse": ["pony"], "ship": ["boat"], "truck": ["lorry"],
}  # fmt: skip
JUNK = [
    "buy now",
    "free wallpaper",
    "best sale",
    "stock png",
    "click here",
    "my home page",
    "cheap hd",
    "love this day",
]
WRONG, MISSING, UNRELATED, OTHER_NAME, TRAILING = 0.10, 0.05, 0.05, 0.20, 0.20  # shares of web captions


def dataset(
    root: Path,
    /,
    *,
    source: Literal["curated", "web"],
    split: Literal["train", "test"] = "train",
    images: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Give each image of a split one caption, drawn from `seed`; labels stay CIFAR-10's.

    `curated`: a template with the right class. `web`: of the captions one in ten names a wrong class, one in twenty
    only says "animal" or "vehicle", one in twenty has nothing to do with the image; one in five names the class by
    another word, and one in five trails off into small talk.
    """
    all_images = thinned(cifar.read_cifar10(root, split=split, templates=cifar.TEMPLATES), images)
    rng = np.random.default_rng([seed, ("curated", "web").index(source)])
    write = _curated if source == "curated" else _web
    return replace(all_images, captions=[write(int(label), rng) for label in all_images.labels])


def _curated(label: int, rng: np.random.Generator) -> str:
    return cifar.TEMPLATES[rng.integers(len(cifar.TEMPLATES))].format(cifar.CLASSES[label])


def _web(label: int, rng: np.random.Generator) -> str:
    kind, talk = rng.random(), JUNK[rng.integers(len(JUNK))]
    if kind < UNRELATED:
        return talk
    name = cifar.CLASSES[label]
    if kind < UNRELATED + MISSING:
        name = "vehicle" if name in ("airplane", "automobile", "ship", "truck") else "animal"
    elif kind < UNRELATED + MISSING + WRONG:
        name = cifar.CLASSES[(label + rng.integers(1, 10)) % 10]
    elif rng.random() < OTHER_NAME:
        name = ALSO[name][rng.integers(len(ALSO[name]))]
    caption = cifar.TEMPLATES[rng.integers(len(cifar.TEMPLATES))].format(name)
    return f"{caption} {talk}" if rng.random() < TRAILING else caption
