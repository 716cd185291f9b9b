"""Ask one question of the embedded lab's world: which shape, colour, texture, background, or how many."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from reliquant.images.dataset import Dataset
from reliquant.images.world.chunks import CHUNK, chunks
from reliquant.images.world.paint import paint
from reliquant.images.world.scenes import KNOWN, ask, draw, names, oppose

PLACE = None  # nothing is read from `root`

TEMPLATES = {
    "shape": ["a photo of a {}", "a picture of a {}", "an image of a {}"],
    "colour": ["a photo of a {} shape", "a picture of a {} object", "an image of a {} shape"],
    "texture": ["a photo of a {} shape", "a picture of a {} object", "an image of a {} shape"],
    "background": [
        "a photo of a shape on a {} background",
        "a picture of an object with a {} background",
        "an image of a shape on a {} background",
    ],
    "count": ["a photo of {}", "a picture of {}", "an image of {}"],
}


def dataset(
    root: Path,
    /,
    *,
    task: Literal["shape", "colour", "texture", "background", "count"],
    images: int,
    rendering: Literal["plain", "sketch", "silhouette", "rotated", "rescaled", "negative", "mosaic"] = "plain",
    novel: bool = False,
    counter: bool = False,
    seed: int = 0,
) -> Dataset:
    """Paint a balanced set of 32 x 32 images for one task; image i is of class i modulo the number of classes.

    `novel` shows the values that were held out of pre-training (near-OOD); `rendering` changes the look (covariate
    shift); `counter` makes the shape's background the one that web captions bind it to in even images (group
    `common`) and any other in odd ones (`counter`), as CounterAnimal does. Nothing is read from `root`.
    """
    classes = names(task, novel=novel)
    if not classes or (counter and (task != "shape" or novel)):
        raise ValueError(f"task {task} has no {'novel classes' if novel else 'counter group'}")
    groups = np.arange(images) % 2 == 1
    labels = (np.arange(images) // 2 if counter else np.arange(images)) % len(classes)

    def make(start: int, rng: np.random.Generator) -> np.ndarray:
        index = np.arange(start, start + CHUNK)
        label = (index // 2 if counter else index) % len(classes)
        scenes = ask(draw(CHUNK, rng), task, label, novel=novel)
        if counter:
            scenes = oppose(scenes, index % 2 == 1, rng)
        return paint(scenes, rng, rendering=rendering)

    # one stream of scenes per task and seed: renderings of a task show the same scenes
    pixels = np.concatenate(chunks(make, images, (1, seed, list(KNOWN).index(task), novel, counter)))
    return Dataset(
        classes=[f"{name} shape{'s' if i else ''}" for i, name in enumerate(classes)] if task == "count" else classes,
        templates=TEMPLATES[task],
        labels=labels.astype(np.int64),
        read=pixels.__getitem__,
        names=[f"{task} {i}" for i in range(images)],
        groups=["counter" if odd else "common" for odd in groups] if counter else None,
    )
