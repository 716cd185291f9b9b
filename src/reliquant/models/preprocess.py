"""Turn prepared uint8 images into a model's input: resized on the device as PIL would do it, and normalised."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate, pad

from reliquant.models.clip import Clip
from reliquant.models.feed import on_device
from reliquant.study.form import NATIVE, Form, Interpolation, Resize


def batches(
    images: NDArray[np.uint8],
    /,
    *,
    size: int | tuple[int, int],
    resize: Resize,
    interpolation: Interpolation,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    fill: tuple[int, int, int] = (0, 0, 0),
    batch: int,
    device: str = "cpu",
) -> Iterator[torch.Tensor]:
    """Yield uint8 images (n, h, w, 3) in order, as normalised float32 batches (b, 3, height, width).

    In memory the channels stay last, as they are stored: this saves a copy, and convolutions on patches are a quarter
    faster. Images of another size are resized with antialiasing, which equals PIL within one level of 255; the
    exception is where the height shrinks much and more than the width, because PIL may then resize the axes in the
    other order (from version 13). After `shortest` the centre is cropped, after `longest` the rest is padded with the
    levels `fill`. For a GPU, threads read the next batches ahead; they end with the iterator, however it ends.
    """
    shift = torch.tensor(mean, device=device).view(1, 3, 1, 1) * 255
    scale = 1 / (torch.tensor(std, device=device).view(1, 3, 1, 1) * 255)
    form = Form(*(size if isinstance(size, tuple) else (size, size)), resize, interpolation, fill)
    for part in on_device(images, batch, device):
        x = fit(part.permute(0, 3, 1, 2).float(), form)
        yield x.sub_(shift).mul_(scale)


def fit(x: torch.Tensor, form: Form, /) -> torch.Tensor:
    """Resize (b, 3, h, w) in [0, 255] to (b, 3, height, width), rounded to whole levels as PIL's are."""
    height, width = x.shape[-2:]
    if (height, width) == (form.height, form.width):
        return x
    target = form.scaled(height, width)
    for shape in ((height, target[1]), target):  # PIL rounds and clips after the width, then after the height
        x = interpolate(x, shape, mode=form.interpolation, antialias=True, align_corners=False)
        x = x.add_(0.5).floor_().clamp_(0, 255)
    top, left = form.offset(*target)
    if target[0] < form.height or target[1] < form.width:
        return padded(x, form, -top, -left)
    return x[..., top : top + form.height, left : left + form.width]


def padded(x: torch.Tensor, form: Form, top: int, left: int, /) -> torch.Tensor:
    """Put images (b, 3, h, w) into a field of the form's size and fill, so many pixels from its top and left."""
    bottom, right = (max(side, 0) for side in (form.height - x.shape[-2] - top, form.width - x.shape[-1] - left))
    levels = torch.tensor(form.fill, dtype=x.dtype, device=x.device).view(1, 3, 1, 1)
    return pad(x - levels, (left, right, top, bottom)) + levels


def pixel_words(clip: Clip, /) -> dict[str, object]:
    """Return the words of `batches` that fit a model."""
    return {word: getattr(clip, word) for word in ("size", "resize", "interpolation", "mean", "std", "fill")}


def require_form(clip: Clip, form: str, where: str, /) -> None:
    """Raise ValueError unless images prepared in a form fit a model; `where` says which images, or whose word it is."""
    if form not in (NATIVE, clip.form):
        raise ValueError(f"{where}: prepared as {form}, but the model wants `form: {clip.form}` in its entry")
