"""What a CLIP-like model says about images and classes: the input of every measure and OOD score; free of torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from reliquant.evaluation.by_class import ByClass, Probabilities, SomeRows

PART = 16_384  # images that are read at a time where they are not in memory


class ReadRows(Protocol):
    """Unit rows (n, d) that are read when they are asked for, and were found finite before."""

    shape: tuple[int, ...]

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | NDArray[np.integer], /) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Features:
    """Hold unit image and text features and the model's own logit scale.

    image (n, d) and text (c, d) have unit rows; label (n,) is -1 for images outside the classes;
    logit_scale is the multiplier itself (not its logarithm); patches (n, p, d) are unit local features or None;
    negatives (m, d) are unit text features, by the same text tower, of words that are probably none of the classes, or
    None; photographs (n,) are the keys of the images (`Prepared.photographs`) or None. `image` may be rows that are
    read when they are asked for: then `cosine`, `logits` and `probabilities` are computed for the rows that are asked
    for, too, and `parts` gives features in memory. Raises ValueError for NaN or infinite features, and for shapes that
    do not fit together.
    """

    image: NDArray[np.float32] | ReadRows
    text: NDArray[np.float32]
    label: NDArray[np.int64]
    logit_scale: float
    logit_bias: float = 0.0
    patches: NDArray[np.float32] | None = None
    negatives: NDArray[np.float32] | None = None
    photographs: NDArray[np.uint64] | None = None

    def __post_init__(self) -> None:
        for name in ("image", "text", "patches", "negatives"):
            values = getattr(self, name)
            if isinstance(values, np.ndarray) and not np.isfinite(values).all():
                raise ValueError(f"{name} features hold NaN or infinite values")
        if self.image.shape[1:] != self.text.shape[1:]:
            raise ValueError(f"image features {self.image.shape} and text features {self.text.shape} differ in width")
        if len(self.label) != len(self.image):
            raise ValueError(f"{len(self.label)} labels for {len(self.image)} images")
        if self.photographs is not None and self.photographs.shape != (len(self.image),):
            raise ValueError(f"keys of photographs {self.photographs.shape} for {len(self.image)} images")

    @property
    def in_memory(self) -> bool:
        """Whether the images are held, not read when they are asked for."""
        return isinstance(self.image, np.ndarray)

    def parts(self, size: int = PART, /) -> Iterator[tuple[slice, Features]]:
        """Yield the features of so many images at a time, in memory, and which images these are."""
        for start in range(0, len(self.label), size):
            at = slice(start, start + size)
            patches = None if self.patches is None else self.patches[at]
            keys = None if self.photographs is None else self.photographs[at]
            yield at, replace(self, image=self.image[at], label=self.label[at], patches=patches, photographs=keys)

    def held(self) -> Features:
        """Return the features with all images in memory."""
        return self if self.in_memory else replace(self, image=self.image[:])

    def some(self, rows: NDArray[np.bool_], /) -> Features:
        """Return the features of some images, (n,) true or false, read when they are asked for where all are."""
        at = np.flatnonzero(rows)
        patches = None if self.patches is None else self.patches[at]
        keys = None if self.photographs is None else self.photographs[at]
        image = self.image[at] if isinstance(self.image, np.ndarray) else SomeRows(self.image, at)
        return replace(self, image=image, label=self.label[at], patches=patches, photographs=keys)

    @cached_property
    def cosine(self) -> NDArray[np.float32] | ByClass:
        """Cosine similarity of each image with each class, (n, c)."""
        if isinstance(self.image, np.ndarray):
            return self.image @ self.text.T
        return ByClass(self.image, self.text, 1.0, 0.0)

    @cached_property
    def logits(self) -> NDArray[np.float32] | ByClass:
        """Scaled (and for SigLIP shifted) similarities, (n, c)."""
        if not isinstance(self.image, np.ndarray):
            return ByClass(self.image, self.text, self.logit_scale, self.logit_bias)
        return np.float32(self.logit_scale) * self.cosine + np.float32(self.logit_bias)

    @cached_property
    def probabilities(self) -> NDArray[np.float32] | Probabilities:
        """Softmax of the logits over the classes, (n, c)."""
        if isinstance(self.logits, ByClass):
            return Probabilities(self.logits)
        return softmax(self.logits, axis=1)
