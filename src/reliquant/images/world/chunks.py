"""Make images of the lab chunk by chunk, so that the first images of a set do not depend on how many follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

CHUNK = 240  # a multiple of twice any number of classes that divides it evenly; the last chunk is cut
Made = TypeVar("Made")


def chunks(make: Callable[[int, np.random.Generator], Made], images: int, seed: tuple[int, ...], /) -> list[Made]:
    """Call `make(first index, generator)` for every chunk; each has its own generator, from `seed` and its number."""
    if images < 1:
        raise ValueError(f"images: {images} asked for; at least 1 is needed")
    starts = range(0, images, CHUNK)
    return [make(start, np.random.default_rng([*seed, number])) for number, start in enumerate(starts)]
