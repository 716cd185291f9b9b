"""Captioned images of the embedded lab's world: what its models are pre-trained, calibrated and fine-tuned on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from reliquant.images.dataset import Dataset
from reliquant.images.world.captions import BOUND, describe
from reliquant.images.world.chunks import CHUNK, chunks
from reliquant.images.world.paint import paint
from reliquant.images.world.scenes import bind, draw, names

PLACE = None  # nothing is read from `root`
CAPTIONED = True  # its images have captions, as a proxy or a retrieval set needs them


def dataset(root: Path, /, *, world: Literal["curated", "web"], images: int, seed: int = 0) -> Dataset:
    """Paint 32 x 32 images with one caption each; labels number the shapes. Nothing is read from `root`.

    `curated`: every attribute independent, captions true and mostly complete. `web`: most images show the background
    that goes with their shape, and captions leave out, err, ramble or have nothing to do with the image. Held-out
    values never occur.
    """

    def make(start: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, list[str]]:
        scenes = bind(draw(CHUNK, rng), BOUND[world], rng)
        return paint(scenes, rng), scenes.shape, describe(scenes, rng, world=world)

    pixels, shapes, captions = [], [], []
    for painted, shape, described in chunks(make, images, (2, seed, ("curated", "web").index(world))):
        pixels.append(painted)
        shapes.append(shape)
        captions += described
    return Dataset(
        classes=names("shape"),
        templates=["a photo of a {}"],
        labels=np.concatenate(shapes)[:images],
        read=np.concatenate(pixels)[:images].__getitem__,
        names=[f"{world} {i}" for i in range(images)],
        captions=captions[:images],
    )
