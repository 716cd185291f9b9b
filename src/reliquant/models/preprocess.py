"""Turn prepared uint8 images into a model's input: resized on the device as PIL would do it, and normalised."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from reliquant.models.clip import Clip


def batches(
    images: NDArray[np.uint8],
    /,
    *,
    size: int,
    resize: Literal["shortest", "squash"],
    interpolation: Literal["bicubic", "bilinear"],
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    batch: int,
    device: str = "cpu",
) -> Iterator[torch.Tensor]:
    """Yield uint8 images (n, h, w, 3) in order, as normalised float32 batches (b, 3, size, size).

    In memory the channels stay last, as they are stored: this saves a copy, and convolutions on patches are a quarter
    faster. Images of another size are resized with antialiasing, which equals PIL within one level of 255; the
    exception is `squash` where the height shrinks much more than the width, because PIL then resizes the axes in the
    other order. After `shortest` the centre is cropped.
    """
    shift = torch.tensor(mean, device=device).view(1, 3, 1, 1) * 255
    scale = 1 / (torch.tensor(std, device=device).view(1, 3, 1, 1) * 255)
    for start in range(0, len(images), batch):
        part = torch.from_numpy(np.array(images[start : start + batch])).to(device)  # a writable copy
        x = fit(part.permute(0, 3, 1, 2).float(), size, resize, interpolation)
        yield x.sub_(shift).mul_(scale)


def fit(x: torch.Tensor, size: int, resize: str, interpolation: str, /) -> torch.Tensor:
    """Resize (b, 3, h, w) in [0, 255] to (b, 3, size, size), rounded to whole levels as PIL's are."""
    height, width = x.shape[-2:]
    if (height, width) == (size, size):
        return x
    if resize == "squash":
        target = (size, size)
    else:  # torchvision's Resize: the longer side is cut to a whole number
        target = (size, int(size * width / height)) if height <= width else (int(size * height / width), size)
    for shape in ((height, target[1]), target):  # PIL rounds and clips after the width, then after the height
        x = interpolate(x, shape, mode=interpolation, antialias=True, align_corners=False)
        x = x.add_(0.5).floor_().clamp_(0, 255)
    top, left = round((target[0] - size) / 2), round((target[1] - size) / 2)
    return x[..., top : top + size, left : left + size]


def pixel_words(clip: Clip, /) -> dict[str, object]:
    """Return the words of `batches` that fit a model."""
    return {word: getattr(clip, word) for word in ("size", "resize", "interpolation", "mean", "std")}
