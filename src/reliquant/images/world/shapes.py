"""The outlines of the lab's shapes as signed distances."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

SHAPES = ("circle", "square", "triangle", "diamond", "cross", "star", "ring", "heart", "crescent", "arrow")
NOVEL_SHAPES = ("hexagon", "semicircle", "bolt", "hourglass", "trapezoid")

REACH, CELLS = 1.6, 192  # the table covers [-REACH, REACH] squared


@cache
def distances() -> NDArray[np.float32]:
    """Tabulate the signed distance (negative inside, unit: the shape's radius) of every shape, (shapes, y, x).

    >>> distances().shape
    (15, 192, 192)
    """
    axis = (np.arange(CELLS) + 0.5) / CELLS * 2 * REACH - REACH
    x, y = np.meshgrid(axis, axis)
    return np.stack([_distance(name, x, y) for name in SHAPES + NOVEL_SHAPES]).astype(np.float32)


def distance(shape: NDArray[np.int64], x: NDArray[np.float32], y: NDArray[np.float32], /) -> NDArray[np.float32]:
    """Look up the signed distance of shapes (n,) at unit coordinates x, y (n, h, w); outside the table 1."""
    column = ((x + REACH) * (CELLS / (2 * REACH))).astype(np.int32)
    row = ((y + REACH) * (CELLS / (2 * REACH))).astype(np.int32)
    inside = (column >= 0) & (column < CELLS) & (row >= 0) & (row < CELLS) & (np.abs(x) < REACH) & (np.abs(y) < REACH)
    cell = np.where(inside, (shape[:, None, None] * CELLS + row) * CELLS + column, 0)
    return np.where(inside, distances().reshape(-1)[cell], np.float32(1))


def _distance(name: str, x: NDArray, y: NDArray) -> NDArray:
    if name == "circle":
        return np.hypot(x, y) - 0.88
    if name == "ring":
        return np.abs(np.hypot(x, y) - 0.68) - 0.22
    if name == "crescent":
        return np.maximum(np.hypot(x, y) - 0.95, 0.8 - np.hypot(x - 0.45, y + 0.1))
    if name == "semicircle":
        return np.maximum(np.hypot(x, y + 0.4) - 1.0, -(y + 0.4))
    return _polygon(_vertices(name), x, y)


def _vertices(name: str) -> NDArray:
    """Corners (k, 2) of a polygon in image orientation (y down), anywhere inside the unit circle."""
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    heart = (
        16 * np.sin(turn) ** 3,
        -13 * np.cos(turn) + 5 * np.cos(2 * turn) + 2 * np.cos(3 * turn) + np.cos(4 * turn),
    )
    a = 0.3
    corners = {
        "square": _regular(4, 1.08, np.pi / 4),
        "triangle": _regular(3, 1.08, -np.pi / 2),
        "diamond": [(0, -1.1), (0.6, 0), (0, 1.1), (-0.6, 0)],
        "cross": [
            (-a, -1),
            (a, -1),
            (a, -a),
            (1, -a),
            (1, a),
            (a, a),
            (a, 1),
            (-a, 1),
            (-a, a),
            (-1, a),
            (-1, -a),
            (-a, -a),
        ],
        "star": [
            p for pair in zip(_regular(5, 1.1, -np.pi / 2), _regular(5, 0.45, -0.3 * np.pi), strict=True) for p in pair
        ],
        "heart": np.stack(heart, axis=1) / 16.5,
        "arrow": [(-1, -0.24), (0.1, -0.24), (0.1, -0.75), (1.05, 0), (0.1, 0.75), (0.1, 0.24), (-1, 0.24)],
        "hexagon": _regular(6, 1.0, 0.0),
        "bolt": [(0.3, -1.1), (-0.6, 0.2), (-0.05, 0.2), (-0.3, 1.1), (0.6, -0.25), (0.05, -0.25)],
        "hourglass": [(-0.75, -1), (0.75, -1), (0.12, 0), (0.75, 1), (-0.75, 1), (-0.12, 0)],
        "trapezoid": [(-0.5, -0.6), (0.5, -0.6), (1.05, 0.65), (-1.05, 0.65)],
    }
    return np.array(corners[name], dtype=float)


def _regular(n: int, radius: float, start: float) -> list[tuple[float, float]]:
    angles = start + 2 * np.pi * np.arange(n) / n
    return [(radius * np.cos(angle), radius * np.sin(angle)) for angle in angles]


def _polygon(corners: NDArray, x: NDArray, y: NDArray) -> NDArray:
    """Signed distance to a simple polygon: the nearest edge, and the parity of edges crossed to the right."""
    nearest, inside = np.full(x.shape, np.inf), np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        along = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2), 0, 1)
        nearest = np.minimum(nearest, np.hypot(x - ax - along * (bx - ax), y - ay - along * (by - ay)))
        if ay != by:
            crossing = ax + (y - ay) / (by - ay) * (bx - ax)
            inside ^= ((y < ay) != (y < by)) & (x < crossing)
    return np.where(inside, -nearest, nearest)
