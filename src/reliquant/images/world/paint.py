"""Paint scenes of the lab: 32 x 32 RGB, with clutter, occlusion, weak contrast and noise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from reliquant.images.world.scenes import COUNTS, KNOWN, NOVEL, Scenes
from reliquant.images.world.shapes import distance
from reliquant.images.world.surfaces import background, palette, smooth, tone

SIZE = 32
Rendering = Literal["plain", "sketch", "silhouette", "rotated", "rescaled", "negative", "mosaic"]
RADII = {0: (8.5, 13.0), 1: (5.8, 7.2), 2: (5.0, 6.2), 3: (4.6, 5.6)}  # by count - 1, in pixels
BEHIND = 0.55  # contrast of the background, so that objects stand out
SPREAD = (0.0, 7.8, 8.8, 9.6)  # distance of the objects from the middle


def paint(scenes: Scenes, rng: np.random.Generator, /, *, rendering: Rendering = "plain") -> NDArray[np.uint8]:
    """Paint scenes, (n, 32, 32, 3). A rendering other than `plain` is a covariate shift: same scenes, other look."""
    if rendering not in get_args(Rendering):
        raise ValueError(f"rendering {rendering!r} is unknown; there are {', '.join(get_args(Rendering))}")
    canvas = _backgrounds(scenes, rng)
    if rendering == "sketch":
        canvas = 228 + 9 * smooth(len(scenes), 6, SIZE, rng)[..., None] + 0 * canvas
    elif rendering == "silhouette":
        canvas = 0.5 * canvas.mean((1, 2), keepdims=True) + 110 + 14 * smooth(len(scenes), 4, SIZE, rng)[..., None]
    canvas = _clutter(canvas, rng)
    for x, y, radius, drawn in _objects(scenes, rng, rendering):
        canvas = _object(canvas, scenes, x, y, radius, drawn, rng, rendering)
    canvas = _occlude(canvas, rng)
    if rendering == "negative":
        canvas = 255 - canvas
    return _expose(canvas, rng, rendering)


def _backgrounds(scenes: Scenes, rng: np.random.Generator) -> NDArray[np.float32]:
    canvas = np.empty((len(scenes), SIZE, SIZE, 3), np.float32)
    for number, name in enumerate(KNOWN["background"] + NOVEL["background"]):
        chosen = scenes.background == number
        canvas[chosen] = background(name, int(chosen.sum()), SIZE, rng)
    middle = canvas.mean((1, 2), keepdims=True)
    canvas -= middle
    canvas *= BEHIND
    canvas += middle
    return canvas


def _objects(
    scenes: Scenes, rng: np.random.Generator, rendering: Rendering
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_]]]:
    """Yield coordinates x, y (n, h, w) in pixels in each object's own frame, its radius and whether it is there."""
    n = len(scenes)
    low, high = np.array(list(RADII.values())).T[:, scenes.count]  # (2, n)
    size = np.where(scenes.large, rng.uniform(0.6, 1, n), rng.uniform(0, 0.4, n))
    radius = low + size * (high - low)
    if rendering == "rescaled":
        radius = radius * np.where(rng.random(n) < 0.5, 0.6, 1.45)
    start, turn = rng.uniform(0, 2 * np.pi, n), rng.uniform(-0.2, 0.2, n)
    if rendering == "rotated":
        turn = turn + rng.uniform(np.pi / 3, 5 * np.pi / 3, n)
    wander = np.where(scenes.count == 0, 2.0, 0.7)
    grid = np.arange(SIZE) - (SIZE - 1) / 2
    for k in range(len(COUNTS)):
        around = start + 2 * np.pi * k / (scenes.count + 1)
        spread = np.array(SPREAD)[scenes.count]
        cx, cy = rng.uniform(-1, 1, (2, n)) * wander + spread * np.stack([np.cos(around), np.sin(around)])
        angle = turn + rng.uniform(-0.1, 0.1, n)
        dx, dy = grid[None, None, :] - cx[:, None, None], grid[None, :, None] - cy[:, None, None]
        c, s = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
        yield (c * dx + s * dy).astype(np.float32), (c * dy - s * dx).astype(np.float32), radius, scenes.count >= k


def _object(
    canvas: NDArray[np.float32],
    scenes: Scenes,
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    radius: NDArray[np.float64],
    drawn: NDArray[np.bool_],
    rng: np.random.Generator,
    rendering: Rendering,
) -> NDArray[np.float32]:
    """Lay one object of each scene that has it over the canvas."""
    r = radius.astype(np.float32)[:, None, None]
    d = np.full_like(x, np.inf)  # pixels; infinite where there is no object
    d[drawn] = distance(scenes.shape[drawn], x[drawn] / r[drawn], y[drawn] / r[drawn]) * r[drawn]
    colour = palette()[scenes.colour] + rng.normal(0, 14, (len(scenes), 3)).astype(np.float32)
    inside = np.clip(0.5 - d, 0, 1)
    if rendering == "sketch":
        hatched = np.where((x + y) % 4 < 2, 0.75, 0.35) * inside
        return _laid(canvas, np.float32(60), np.maximum(np.clip(1.4 - np.abs(d), 0, 1), hatched))
    if rendering == "silhouette":
        return _laid(canvas, np.float32(30), inside)
    dark = np.zeros_like(x)
    for number, name in enumerate(KNOWN["texture"] + NOVEL["texture"]):
        chosen = scenes.texture == number
        dark[chosen] = tone(name, x[chosen], y[chosen], rng)
    rim = np.clip(1.2 + d, 0, 1)
    return _laid(canvas, colour, inside, light=1 - 0.6 * np.maximum(dark, 0.6 * rim))


def _laid(
    canvas: NDArray, colour: NDArray | np.floating, share: NDArray, /, *, light: NDArray[np.float32] | None = None
) -> NDArray:
    """Lay a colour, one for all or one for each image (n, 3), over the canvas (n, SIZE, SIZE, 3).

    Each pixel takes its share of the colour, (n, SIZE, SIZE), which is darkened by its light, of the same shape.
    Only pixels with a share are computed, as most have none; the others stay as they are.
    """
    there = np.flatnonzero(share > 0)
    under, over = canvas.reshape(-1, 3)[there], np.broadcast_to(colour, (len(canvas), 3))[there // SIZE**2]
    if light is not None:
        over = over * light.reshape(-1, 1)[there]
    laid = under + (over - under) * share.reshape(-1, 1)[there]
    canvas = canvas.astype(laid.dtype, order="C")
    canvas.reshape(-1, 3)[there] = laid
    return canvas


def _clutter(canvas: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Strew up to three small dull blots behind the objects."""
    n = len(canvas)
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    for _ in range(3):
        cx, cy = rng.uniform(0, SIZE, (2, n, 1, 1)).astype(np.float32)
        radius, stretch = rng.uniform(0.8, 2.2, (n, 1, 1)), rng.uniform(0.5, 2, (n, 1, 1))
        shown = (rng.random((n, 1, 1)) < 0.5) * rng.uniform(0.3, 0.8, (n, 1, 1))
        some, share = np.flatnonzero(shown), np.zeros((n, SIZE, SIZE))
        away = np.hypot((x - cx[some]) * stretch[some], y - cy[some])
        share[some] = np.clip(radius[some] + 0.5 - away, 0, 1) * shown[some]
        dull = rng.uniform(50, 210, (n, 1)) + rng.uniform(-35, 35, (n, 3))
        canvas = _laid(canvas, dull, share)
    return canvas.astype(np.float32)


def _occlude(canvas: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw a bar across a third of the images."""
    n = len(canvas)
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32) - (SIZE - 1) / 2
    angle, offset = rng.uniform(0, np.pi, (n, 1, 1)), rng.uniform(-8, 8, (n, 1, 1))
    half = rng.uniform(0.7, 2.0, (n, 1, 1))
    share = np.clip(half + 0.5 - np.abs(np.cos(angle) * x + np.sin(angle) * y - offset), 0, 1)
    share = share * (rng.random((n, 1, 1)) < 0.25)
    grey = rng.uniform(40, 220, (n, 1)) + rng.uniform(-20, 20, (n, 3))
    return _laid(canvas, grey, share)


def _expose(canvas: NDArray[np.float32], rng: np.random.Generator, rendering: Rendering) -> NDArray[np.uint8]:
    """Weaken the contrast, shift the brightness, add noise, round."""
    n = len(canvas)
    if rendering == "mosaic":
        blocks = canvas.reshape(n, SIZE // 2, 2, SIZE // 2, 2, 3).mean((2, 4))
        canvas = np.round(blocks / 51).repeat(2, 1).repeat(2, 2) * 51
    middle = canvas.mean((1, 2, 3), keepdims=True)
    contrast = rng.uniform(0.55, 1.1, (n, 1, 1, 1))
    noise = np.exp(rng.uniform(np.log(2), np.log(12), (n, 1, 1, 1)))
    canvas = canvas - middle
    canvas *= contrast
    canvas += middle
    canvas += rng.uniform(-25, 25, (n, 1, 1, 1))
    canvas += noise * rng.standard_normal(canvas.shape, dtype=np.float32)
    return np.clip(np.round(canvas), 0, 255).astype(np.uint8)
