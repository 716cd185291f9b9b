"""What covers the lab's objects and what lies behind them: colours, textures, backgrounds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

COLOURS = {
    "red": (215, 40, 40),
    "orange": (245, 140, 25),
    "yellow": (245, 225, 50),
    "green": (45, 165, 60),
    "cyan": (50, 205, 215),
    "blue": (50, 75, 225),
    "purple": (135, 55, 190),
    "pink": (250, 130, 190),
    "brown": (125, 78, 40),
    "white": (240, 240, 240),
}
NOVEL_COLOURS = {"black": (25, 25, 28), "grey": (128, 128, 128), "olive": (120, 125, 25), "navy": (18, 25, 95)}
TEXTURES = ("plain", "striped", "checkered", "ringed")
NOVEL_TEXTURES = ("dotted", "speckled", "zigzag", "halved")
BACKGROUNDS = ("sky", "grass", "sand", "water", "brick", "space", "snow", "wood")
NOVEL_BACKGROUNDS = ("lava", "tiles", "forest")


def palette() -> NDArray[np.float32]:
    """List the colours, known then novel, (colours, 3) in 0..255."""
    return np.array([*COLOURS.values(), *NOVEL_COLOURS.values()], dtype=np.float32)


def tone(texture: str, x: NDArray, y: NDArray, rng: np.random.Generator, /) -> NDArray[np.float32]:
    """Say where a texture is dark (1) and light (0) at pixel coordinates x, y (n, h, w) of the object's own frame."""
    period = rng.uniform(6.4, 7.4, (len(x), 1, 1)).astype(np.float32)
    u, v = 2 * np.pi * x / period, 2 * np.pi * y / period
    if texture == "plain":
        return np.zeros_like(x)
    if texture == "speckled":
        return (rng.random(x.shape, dtype=np.float32) < 0.35).astype(np.float32)
    waves = {
        "striped": lambda: np.sin(u),
        "dotted": lambda: np.cos(u) + np.cos(v) - 0.75,
        "checkered": lambda: np.sin(0.8 * u) * np.sin(0.8 * v) * 3,
        "ringed": lambda: np.cos(2 * np.pi * np.hypot(x, y) / period),
        "zigzag": lambda: np.sin(u + 2.2 * np.abs((2 * y / period) % 2 - 1)),
        "halved": lambda: x,
    }
    return np.clip(0.5 + 1.5 * waves[texture](), 0, 1).astype(np.float32)


def smooth(n: int, cells: int, size: int, rng: np.random.Generator, /) -> NDArray[np.float32]:
    """Draw n fields of smooth noise (n, size, size), about -1 to 1: a random lattice, interpolated linearly."""
    lattice = rng.uniform(-1, 1, (n, cells, cells)).astype(np.float32)
    place = np.arange(size) / (size - 1) * (cells - 1)
    weight = np.clip(1 - np.abs(place[:, None] - np.arange(cells)), 0, 1).astype(np.float32)  # (size, cells)
    return weight @ lattice @ weight.T


def background(name: str, n: int, size: int, rng: np.random.Generator, /) -> NDArray[np.float32]:
    """Paint n backgrounds (n, size, size, 3) in 0..255."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    low, high = smooth(n, 4, size, rng), smooth(n, size // 2, size, rng)
    phase = rng.uniform(0, 2 * np.pi, (2, n, 1, 1)).astype(np.float32)
    shift = rng.integers(0, 8, (2, n, 1, 1))
    recipes = {
        "sky": lambda: _mix((120, 175, 235), (245, 248, 255), np.clip(1.6 * low + 0.1, 0, 1)),
        "grass": lambda: _mix(
            (45, 110, 35), (125, 185, 70), 0.5 + 0.5 * high + 0.25 * np.sin(2.1 * x + phase[0] + 2 * low)
        ),
        "sand": lambda: _mix(
            (200, 170, 115), (235, 210, 160), 0.5 + 0.5 * high + 0.3 * np.sin(0.5 * y + 0.2 * x + 2 * low + phase[0])
        ),
        "water": lambda: _mix(
            (20, 85, 135), (75, 165, 190), 0.5 + 0.5 * np.sin(1.15 * y + 1.5 * np.sin(0.35 * x + phase[0]) + phase[1])
        ),
        "brick": lambda: (
            _mix((150, 70, 50), (195, 180, 165), _mortar(x + shift[0], y + shift[1])) + 12 * high[..., None]
        ),
        "space": lambda: _mix((12, 10, 35), (50, 30, 80), low) + 190 * (high > 0.86)[..., None],
        "snow": lambda: _mix((205, 215, 228), (252, 253, 255), 0.5 + 0.6 * low + 0.3 * high),
        "wood": lambda: _mix((110, 70, 38), (180, 128, 78), 0.5 + 0.5 * np.sin(1.0 * x + 4 * low + phase[0])),
        "lava": lambda: _mix((45, 15, 12), (255, 130, 20), np.clip(1 - 3 * np.abs(low + 0.3 * high), 0, 1)),
        "tiles": lambda: _mix((170, 175, 178), (95, 100, 105), ((x + shift[0]) % 8 < 1) | ((y + shift[1]) % 8 < 1)),
        "forest": lambda: _mix((15, 45, 25), (50, 90, 40), (np.sin(1.3 * x + phase[0]) > 0.2) * 0.7 + 0.3 * high),
    }
    return recipes[name]() + rng.normal(0, 10, (n, 1, 1, 3)).astype(np.float32)


def _mix(one: tuple[int, int, int], other: tuple[int, int, int], share: NDArray) -> NDArray[np.float32]:
    share = np.clip(share, 0, 1).astype(np.float32)
    mixed = np.empty((*share.shape, 3), np.float32)
    for channel, (first, second) in enumerate(zip(one, other, strict=True)):
        mixed[..., channel] = first + (second - first) * share
    return mixed


def _mortar(x: NDArray, y: NDArray) -> NDArray:
    row = y // 5
    return (y % 5 < 1) | ((x + 4 * (row % 2)) % 9 < 1)
