"""CLIP's symmetric InfoNCE over the image-caption pairs of a batch."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

from reliquant.models.embedded import Embedded

PAIRED = True  # it is lower where an image and its caption agree


def loss(student: Embedded, teacher: Embedded | None, /, *, weight: float = 1.0) -> torch.Tensor:
    """Return weight times the symmetric InfoNCE (Radford et al. 2021, Figure 3), a scalar; the teacher is not used.

    Where a caption occurs more than once in a batch, each occurrence is equally right and the target is spread evenly
    over them (UniCL, Yang et al. 2022, Equation 3). With distinct captions this is exactly CLIP's loss.
    """
    same = student.caption[:, None] == student.caption[None, :]  # (n, n)
    target = same / same.sum(dim=1, keepdim=True)
    logits = student.logits
    return weight * (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
