"""Similarities, logits and probabilities (n, c) of images that are not in memory: computed where they are asked for."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

ROWS = 4096  # images whose classes are worked on at a time
HELD = 2**28  # bytes of columns that are computed at once, as each time all images are read


class ByClass:
    """Be an array (n, c), scale times the cosines of images and classes plus a bias, of which parts are computed.

    `[rows]` gives (m, c), `[:, first:last]` gives (n, last - first), both float32. `image` has unit rows (n, d), in
    memory or read when they are asked for; `text` (c, d) is in memory.
    """

    def __init__(self, image: Any, text: NDArray[np.float32], scale: float, bias: float, /) -> None:
        self.image, self.text = image, text
        self.scale, self.bias = np.float32(scale), np.float32(bias)
        self.shape, self.dtype, self.ndim = (len(image), len(text)), np.dtype(np.float32), 2
        self._first, self._columns = 0, np.empty((len(image), 0), np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, asked: slice | tuple[slice, slice]) -> NDArray[np.float32]:
        if isinstance(asked, tuple):
            rows, columns = asked
            return self._of_classes(*columns.indices(self.shape[1])[:2])[rows]
        return self.of(self.image[asked], slice(None))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(dtype or self.dtype)

    def of(self, image: NDArray[np.float32], classes: slice, /) -> NDArray[np.float32]:
        """Return the values of images (m, d) for some classes, (m, k)."""
        return self.scale * (image @ self.text[classes].T) + self.bias

    def blocks(self) -> Any:
        """Yield which images are read, and their embeddings, block by block."""
        for start in range(0, len(self), ROWS):
            at = slice(start, start + ROWS)
            yield at, self.image[at]

    def _of_classes(self, first: int, last: int) -> NDArray[np.float32]:
        """Return the columns of some classes, (n, k); as many as `HELD` allows are computed at once and kept."""
        start = first - self._first
        if start < 0 or last - self._first > self._columns.shape[1]:
            self._columns = np.empty((len(self), 0), np.float32)  # let go before others take as much
            end = min(self.shape[1], max(last, first + HELD // (4 * max(1, len(self)))))
            found = np.empty((len(self), end - first), np.float32)
            for at, image in self.blocks():
                found[at] = self._block(at, image, slice(first, end))
            self._first, self._columns, start = first, found, 0
        return self._columns[:, start : start + last - first]

    def _block(self, at: slice, image: NDArray[np.float32], classes: slice) -> NDArray[np.float32]:
        return self.of(image, classes)


class SomeRows:
    """Be some rows (m, d) of others that are read when they are asked for."""

    def __init__(self, image: Any, rows: NDArray[np.integer], /) -> None:
        self.image, self.rows, self.shape = image, rows, (len(rows), *image.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, asked: slice | NDArray[np.integer]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self.image[self.rows[asked]]
        return found


class Probabilities(ByClass):
    """Be the softmax of logits (n, c) over the classes, of which parts are computed.

    Columns are computed in double precision: a column and the sum that it is divided by come from products of different
    shapes, which round differently, and single precision would let probabilities near 1 pass 1.
    """

    def __init__(self, logits: ByClass, /) -> None:
        super().__init__(logits.image, logits.text, float(logits.scale), float(logits.bias))
        self._exact_text = self.text.astype(float)

    def __getitem__(self, asked: slice | tuple[slice, slice]) -> NDArray[np.float32]:
        found = super().__getitem__(asked)
        return found if isinstance(asked, tuple) else softmax(found, axis=1)

    def _exact(self, image: NDArray[np.float32], classes: slice) -> NDArray[np.float64]:
        """Return the logits of images (m, d) for some classes, (m, k)."""
        return float(self.scale) * (image.astype(float) @ self._exact_text[classes].T) + float(self.bias)

    @cached_property
    def _log_sum(self) -> NDArray[np.float64]:
        """The logarithm of the sum of the exponentials of each image's logits, (n, 1)."""
        found = np.empty((len(self), 1))
        for at, image in self.blocks():
            found[at] = logsumexp(self._exact(image, slice(None)), axis=1, keepdims=True)
        return found

    def _block(self, at: slice, image: NDArray[np.float32], classes: slice) -> NDArray[np.float32]:
        return np.exp(self._exact(image, classes) - self._log_sum[at]).astype(np.float32)
