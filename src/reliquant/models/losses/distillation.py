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
    """Return weight times the distance of the student from the teacher, a scalar; raise ValueError without a teacher.

    `logits`: T^2 KL(teacher || student) of the softmax over the batch's captions for each image, and over its images
    for each caption, averaged (Hinton et al. 2015; affinity mimicking, Wu et al. 2023, TinyCLIP, Equation 3).
    `embeddings`: 1 - cos(student, teacher) of images plus that of captions, half of `feature_mse`.
    """
    if teacher is None:
        raise ValueError("distillation compares with the FP32 model: it needs a teacher")
    if of == "embeddings":
        image = 1 - (student.image * teacher.image).sum(dim=1).mean()
        text = 1 - (student.text * teacher.text).sum(dim=1).mean()
        return weight * (image + text)
    image = _kl(student.logits, teacher.logits, temperature)
    text = _kl(student.logits.T, teacher.logits.T, temperature)
    return weight * (image + text) / 2


def _kl(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """KL(teacher || student) of the softmax of rows, averaged over rows, times the squared temperature."""
    of_student = log_softmax(student / temperature, dim=1)
    of_teacher = log_softmax(teacher / temperature, dim=1)
    return kl_div(of_student, of_teacher, log_target=True, reduction="batchmean") * temperature**2
