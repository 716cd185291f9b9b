"""A batch of image-caption pairs after the two towers: what every loss gets from the student and from its teacher."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Embedded:
    """Hold unit embeddings of the images (n, d) and captions (n, d) of n pairs, and the scalar logit scale and bias.

    `caption` (n,) numbers the distinct captions of the batch: equal captions have equal numbers.
    """

    image: torch.Tensor
    text: torch.Tensor
    logit_scale: torch.Tensor
    logit_bias: torch.Tensor
    caption: torch.Tensor

    @property
    def logits(self) -> torch.Tensor:
        """Scaled similarities, (n images, n captions)."""
        return self.logit_scale * self.image @ self.text.T + self.logit_bias
