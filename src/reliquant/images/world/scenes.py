"""What a scene of the lab holds, and how its attributes are drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reliquant.images.world.shapes import NOVEL_SHAPES, SHAPES
from reliquant.images.world.surfaces import (
    BACKGROUNDS,
    COLOURS,
    NOVEL_BACKGROUNDS,
    NOVEL_COLOURS,
    NOVEL_TEXTURES,
    TEXTURES,
)

COUNTS = ("one", "two", "three", "four")
KNOWN = {"shape": SHAPES, "colour": tuple(COLOURS), "texture": TEXTURES, "background": BACKGROUNDS, "count": COUNTS}
NOVEL = {
    "shape": NOVEL_SHAPES,
    "colour": tuple(NOVEL_COLOURS),
    "texture": NOVEL_TEXTURES,
    "background": NOVEL_BACKGROUNDS,
    "count": (),
}
Task = Literal["shape", "colour", "texture", "background", "count"]


@dataclass(frozen=True)
class Scenes:
    """Hold the attributes of n scenes: numbers into the known, then the novel names; count is one less than it says."""

    shape: NDArray[np.int64]
    colour: NDArray[np.int64]
    texture: NDArray[np.int64]
    background: NDArray[np.int64]
    count: NDArray[np.int64]
    large: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.shape)


def names(task: Task, /, *, novel: bool = False) -> list[str]:
    """Name the values of an attribute: those of the pre-training world, or those held out of it."""
    return list((NOVEL if novel else KNOWN)[task])


def common_background(shape: NDArray[np.int64], /) -> NDArray[np.int64]:
    """Return the background to which the web world binds each shape: the first shapes have one each, others share."""
    return shape % len(BACKGROUNDS)


def draw(n: int, rng: np.random.Generator, /) -> Scenes:
    """Draw n scenes with every known attribute independent; half hold one object, the rest two to four."""
    uniform = {task: rng.integers(0, len(values), n) for task, values in KNOWN.items()}
    count = rng.choice(len(COUNTS), n, p=[0.52, 0.16, 0.16, 0.16])
    return Scenes(**{**uniform, "count": count}, large=rng.random(n) < 0.5)


def bind(scenes: Scenes, share: float, rng: np.random.Generator, /) -> Scenes:
    """Put that share of the scenes on the common background of their shape."""
    bound = rng.random(len(scenes)) < share
    return replace(scenes, background=np.where(bound, common_background(scenes.shape), scenes.background))


def ask(scenes: Scenes, task: Task, labels: NDArray[np.int64], /, *, novel: bool = False) -> Scenes:
    """Set one attribute to the labels; but for the question of how many, most scenes then hold one object."""
    values = labels + len(KNOWN[task]) if novel else labels
    if task == "count":
        return replace(scenes, count=values)
    few = np.where(np.arange(len(scenes)) % 8 < 7, 0, np.minimum(scenes.count, 1))
    return replace(scenes, **{task: values, "count": few})


def oppose(scenes: Scenes, groups: NDArray[np.bool_], rng: np.random.Generator, /) -> Scenes:
    """Put scenes on their shape's common background, and those in `groups` (n,) on any other (the counter group)."""
    common = common_background(scenes.shape)
    other = (common + rng.integers(1, len(BACKGROUNDS), len(scenes))) % len(BACKGROUNDS)
    return replace(scenes, background=np.where(groups, other, common))
