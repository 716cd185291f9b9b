"""SigLIP's pairwise sigmoid loss over the image-caption pairs of a batch."""

from __future__ import annotations

import torch
from torch.nn.functional import logsigmoid

from reliquant.models.embedded import Embedded

PAIRED = True  # it is lower where an image and its caption agree


def loss(student: Embedded, teacher: Embedded | None, /, *, weight: float = 1.0) -> torch.Tensor:
    """Return weight times the sigmoid loss (Zhai et al. 2023, Equation 3), a scalar; the teacher is not used.

    Every image is judged with every caption: -sum log sigmoid(+-logit) / n. Where a caption occurs more than once in a
    batch, each occurrence is equally right. With distinct captions this is exactly SigLIP's loss.
    """
    same = student.caption[:, None] == student.caption[None, :]  # (n, n)
    sign = torch.where(same, 1.0, -1.0).to(student.logits.dtype)
    return -weight * logsigmoid(sign * student.logits).sum() / len(same)
