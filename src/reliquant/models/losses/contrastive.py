"""CLIP's symmetric InfoNCE over the image-caption pairs of a batch."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

from reliquant.models.embedded import Embedded


def loss(student: Embedded, teacher: Embedded | None, /, *, weight: float = 1.0) -> torch.Tensor:
    """Return weight times the symmetric InfoNCE (Radford et al. 2021, Figure 3), a scalar; the teacher is not used.

    Where captions repeat in a batch, each repetition is as right as its twin and the target is spread evenly over
    them (UniCL, Yang et al. 2022, Equation 3); with distinct captions this is CLIP's loss exactly.
    """
    same = student.caption[:, None] == student.caption[None, :]  # (n, n)
    target = same / same.sum(dim=1, keepdim=True)
    logits = student.logits
    return weight * (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
