"""Pairs without data: generated images, and prompts that say nothing about them, to calibrate on.

Calibration on noise and patterns asks how much of a method's result comes from its data (Frumkin et al. 2023 and Nagel
et al. 2019 calibrate without any). Image i and caption i have nothing to do with one another: a config that would tune
or train on their agreement is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reliquant.images.dataset import Dataset
from reliquant.images.world.chunks import CHUNK, chunks
from reliquant.images.world.patterns import PATTERNS

PLACE = None  # nothing is read from `root`
UNPAIRED = True  # an image's caption says nothing about it
KINDS = ("noise", "gray", *PATTERNS)
TEMPLATES = ["a photo of a {}", "a drawing of a {}", "a {}", "the {} in a picture"]
THINGS = ["dog", "car", "tree", "house", "person", "bird", "boat", "table", "mountain", "cup", "street", "flower"]


def dataset(
    root: Path,
    /,
    *,
    kind: Literal["noise", "gray", "fractal", "gratings", "glyphs", "rectangles"],
    images: int,
    size: int = 32,
    things: list[str] | None = None,
    templates: list[str] | None = None,
    seed: int = 0,
) -> Dataset:
    """Generate square images of `size` pixels, each with a template that names one of `things`.

    `noise`: each pixel drawn by itself, uniformly; `gray`: one level in all, so that the prompts alone carry
    something; `fractal`, `gratings`, `glyphs`, `rectangles`: those of `lab_patterns`, 32 pixels wide and repeated to
    other sizes.
    """
    things, templates = things or THINGS, templates or TEMPLATES
    if size < 1:
        raise ValueError(f"data_free: size: {size} asked for; at least 1 is needed")
    pixels = chunks(lambda _, rng: _drawn(kind, size, rng), images, (5, seed, KINDS.index(kind), size))
    rng = np.random.default_rng([5, seed])
    of_image = rng.integers(0, len(things) * len(templates), images)
    return Dataset(
        classes=[],
        templates=["a photo of a {}"],
        labels=np.full(images, -1, np.int64),
        read=np.concatenate(pixels)[:images].__getitem__,
        names=[f"{kind} {i}" for i in range(images)],
        captions=[templates[n // len(things)].format(things[n % len(things)]) for n in of_image],
    )


def _drawn(kind: str, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw CHUNK images (CHUNK, size, size, 3)."""
    if kind == "noise":
        return rng.integers(0, 256, (CHUNK, size, size, 3), dtype=np.uint8)
    if kind == "gray":
        return np.broadcast_to(rng.integers(0, 256, (CHUNK, 1, 1, 1), dtype=np.uint8), (CHUNK, size, size, 3))
    tile = PATTERNS[kind](CHUNK, rng)
    times = -(-size // tile.shape[1])
    return np.tile(tile, (1, times, times, 1))[:, :size, :size]
