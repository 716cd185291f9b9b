"""What a CLIP-like model says about images and classes: the input of every measure and OOD score; free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax


@dataclass(frozen=True)
class Features:
    """Hold unit image and text features and the model's own logit scale.

    image (n, d) and text (c, d) have unit rows; label (n,) is -1 for images outside the classes;
    logit_scale is the multiplier itself (not its logarithm); patches (n, p, d) are unit local features or None;
    negatives (m, d) are unit text features, by the same text tower, of words that are probably none of the classes, or
    None; photographs (n,) are the keys of the images (`Prepared.photographs`) or None. Raises ValueError for NaN or
    infinite features, and for shapes that do not fit together.
    """

    image: NDArray[np.float32]
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
            if values is not None and not np.isfinite(values).all():
                raise ValueError(f"{name} features hold NaN or infinite values")
        if self.image.shape[1:] != self.text.shape[1:]:
            raise ValueError(f"image features {self.image.shape} and text features {self.text.shape} differ in width")
        if len(self.label) != len(self.image):
            raise ValueError(f"{len(self.label)} labels for {len(self.image)} images")
        if self.photographs is not None and self.photographs.shape != (len(self.image),):
            raise ValueError(f"keys of photographs {self.photographs.shape} for {len(self.image)} images")

    @cached_property
    def cosine(self) -> NDArray[np.float32]:
        """Cosine similarity of each image with each class, (n, c)."""
        return self.image @ self.text.T

    @cached_property
    def logits(self) -> NDArray[np.float32]:
        """Scaled (and for SigLIP shifted) similarities, (n, c)."""
        return np.float32(self.logit_scale) * self.cosine + np.float32(self.logit_bias)

    @cached_property
    def probabilities(self) -> NDArray[np.float32]:
        """Softmax of the logits over the classes, (n, c)."""
        return softmax(self.logits, axis=1)
