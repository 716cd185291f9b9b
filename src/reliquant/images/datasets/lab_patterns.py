"""Patterns from other generators than the embedded lab's: far out of its distribution."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from reliquant.images.dataset import Dataset
from reliquant.images.world.chunks import CHUNK, chunks
from reliquant.images.world.patterns import PATTERNS

PLACE = None  # nothing is read from `root`


def dataset(
    root: Path, /, *, pattern: Literal["fractal", "gratings", "glyphs", "rectangles"], images: int, seed: int = 0
) -> Dataset:
    """Generate 32 x 32 images of one kind of pattern, without labels. Nothing is read from `root`.

    `fractal`: coloured 1/f noise; `gratings`: sums of two sine gratings; `glyphs`: rows of random text-like marks;
    `rectangles`: dead leaves of overlapping rectangles.
    """
    if pattern not in PATTERNS:
        raise ValueError(f"pattern {pattern!r} is unknown; there are {', '.join(PATTERNS)}")
    made = chunks(lambda _, rng: PATTERNS[pattern](CHUNK, rng), images, (3, seed, list(PATTERNS).index(pattern)))
    pixels = np.concatenate(made)
    return Dataset(
        classes=[],
        templates=["a photo of a {}"],
        labels=np.full(images, -1, np.int64),
        read=pixels.__getitem__,
        names=[f"{pattern} {i}" for i in range(images)],
    )
