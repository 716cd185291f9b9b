"""Stored embeddings at unit length: found good once, then read and scaled where they are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reliquant.stored.column import Column, Rows

BLOCK = 2**22  # numbers that are looked at at a time: 32 MiB of float64


class UnitRows:
    """Be an array (n, d) of unit rows, float32, read from a column when they are asked for."""

    def __init__(self, path: Path, name: str, column: Column, /) -> None:
        """Read all rows once; raise ValueError naming the file, and the first row that has no direction."""
        if len(column.shape) != 2:
            raise ValueError(f"{path}: {name} must have two axes, not shape {column.shape}")
        if column.dtype.kind != "f":
            raise ValueError(f"{path}: {name} must hold floating point numbers, not {column.given}")
        self.shape: tuple[int, ...] = column.shape
        self.dtype, self.column = np.dtype(np.float32), column
        self.length = np.empty((len(column), 1))
        step = max(1, BLOCK // max(1, column.shape[1]))
        for start in range(0, len(column), step):
            rows = column.exact(slice(start, start + step))
            finite = np.isfinite(rows).all(axis=1)
            if not finite.all():
                row = start + int(np.argmin(finite))
                raise ValueError(f"{path}: {name} holds NaN or infinite values, first in row {row}")
            with np.errstate(over="ignore", under="ignore"):
                self.length[start : start + step] = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
        if not np.isfinite(self.length).all():
            row = int(np.argmin(np.isfinite(self.length)))
            raise ValueError(f"{path}: row {row} of {name} holds numbers too large for its length to be one")
        if not self.length.all():
            row = int(np.argmin(self.length))
            raise ValueError(f"{path}: row {row} of {name} holds zeros only; it has no direction")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Rows) -> NDArray[np.float32]:
        return (self.column.exact(rows) / self.length[rows]).astype(np.float32)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(dtype or self.dtype)
