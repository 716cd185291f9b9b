"""Mean squared error to the embeddings of the FP32 model."""

from __future__ import annotations

import torch

from reliquant.models.embedded import Embedded


def loss(student: Embedded, teacher: Embedded | None, /, *, weight: float = 1.0) -> torch.Tensor:
    """Return weight times the mean over pairs of |z - z_fp32|^2 of image embeddings plus that of text, a scalar.

    Embeddings have unit length, so |z - z_fp32|^2 = 2 - 2 cos(z, z_fp32). A text tower that is not quantized adds 0.
    Raises ValueError without a teacher.
    """
    if teacher is None:
        raise ValueError("feature_mse compares with the FP32 model: it needs a teacher")
    image = (student.image - teacher.image).square().sum(dim=1).mean()
    text = (student.text - teacher.text).square().sum(dim=1).mean()
    return weight * (image + text)
