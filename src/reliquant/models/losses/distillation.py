"""Distillation from the FP32 model: its logits over the batch, or its embeddings."""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn.functional import kl_div, log_softmax

from reliquant.models.embedded import Embedded


def loss(
    student: Embedded,
    teacher: Embedded | None,
    /,
    *,
    of: Literal["logits", "embeddings"] = "logits",
    temperature: float = 1.0,
    weight: float = 1.0,
) -> torch.Tensor:
    """Return weight times the distance of the student from the teacher, a scalar; ValueError without a teacher.

    `logits`: T^2 KL(teacher || student) of the softmax over the batch's captions for each image, and over its images
    for each caption, averaged (Hinton et al. 2015; affinity mimicking, Wu et al. 2023, TinyCLIP, Equation 3).
    `embeddings`: 1 - cos(student, teacher) of images plus that of captions, half of `feature_mse`.
    """
    if teacher is None:
        raise ValueError("distillation compares with the FP32 model: it needs a teacher")
    if of == "embeddings":
        pairs = ((student.image, teacher.image), (student.text, teacher.text))
        return weight * sum(1 - (s * t).sum(dim=1).mean() for s, t in pairs)
    image = _kl(student.logits, teacher.logits, temperature)
    return weight * (image + _kl(student.logits.T, teacher.logits.T, temperature)) / 2


def _kl(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """KL(teacher || student) of the softmax of rows, averaged over rows, times the squared temperature."""
    logs = (log_softmax(x / temperature, dim=1) for x in (student, teacher))
    return kl_div(*logs, log_target=True, reduction="batchmean") * temperature**2
