"""What a tower plugin returns: the (model, preprocessing, tokenizer) contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn


@dataclass(frozen=True)
class Clip:
    """Hold a CLIP-like model with the way its images and captions must be prepared.

    `model` has `encode_image(x, normalize=)`, `encode_text(tokens, normalize=)`, a `logit_scale` (logarithm) and maybe
    a `logit_bias`; `tokenizer` maps captions to (n, context) token ids; images are resized to `size` pixels
    (`shortest` side then centre crop, or `squash`), scaled to [0, 1] and normalised by `mean` and `std` per channel.
    """

    model: nn.Module
    tokenizer: Callable[[list[str]], torch.Tensor]
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: Literal["shortest", "squash"] = "shortest"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"

    @property
    def form(self) -> str:
        """Name the preparation of large images that fits this model, as in `data/prepared/<dataset>/<form>`."""
        return f"{self.size}-{self.resize}-{self.interpolation}"
