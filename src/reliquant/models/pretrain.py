"""Train a small CLIP from scratch on image-caption pairs that are held in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize, pad

from reliquant.models.clip import Clip
from reliquant.models.embedded import Embedded
from reliquant.models.losses.contrastive import loss as contrastive
from reliquant.progress import progress

LARGEST_LOGIT_SCALE = math.log(100)  # where CLIP clips it (Radford et al. 2021, section 2.5)


def pretrain(
    clip: Clip,
    images: NDArray[np.uint8],
    captions: list[str],
    /,
    *,
    steps: int,
    batch: int = 256,
    lr: float = 1e-3,
    weight_decay: float = 0.05,
    warmup: float = 0.1,
    flip: bool = False,
    crop: int = 0,
    bf16: bool = False,
    muon: float | None = None,
    seed: int = 0,
) -> list[float]:
    """Train `clip.model` in place with AdamW on CLIP's contrastive loss and return the loss of each step.

    Each epoch visits the images (n, h, w, 3) and their n captions in a new random order. The learning rate rises
    linearly over the first `warmup` share of the steps, then falls to 0 as a cosine. `flip` mirrors half of the images;
    `crop` shifts each by up to that many pixels (reflected at the border). `bf16` runs the towers under bfloat16
    autocast. `muon` is a learning rate: the linear layers of the image tower are then trained by Muon (Jordan et al.
    2024), whose orthogonal updates need about half the steps of AdamW here.
    Equal input, seed, number of threads and machine give equal weights. Raises ValueError on input that does not fit.
    """
    _check(clip, images, captions, batch)
    generator = torch.Generator().manual_seed(seed)
    distinct = {caption: i for i, caption in enumerate(dict.fromkeys(captions))}
    tokens = clip.tokenizer(list(distinct))  # (distinct captions, context)
    caption = torch.tensor([distinct[text] for text in captions])
    optimizers = _optimizers(clip.model, lr, muon, weight_decay)
    rate = partial(_rate, steps=steps, warmup=warmup)
    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, rate) for optimizer in optimizers]
    clip.model.train()
    losses = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # patch dropout draws from torch's own generator
        for chosen in progress(_batches(len(images), batch, steps, generator), label="pretrain", total=steps):
            pixels = augmented(torch.from_numpy(images[chosen.numpy()]), generator, flip=flip, crop=crop)
            value = contrastive(_embedded(clip, pixels, tokens, caption[chosen], bf16=bf16), None)
            losses.append(value.item())
            _update(clip.model, value, optimizers)
            for schedule in schedules:
                schedule.step()
    clip.model.eval()
    return losses


def _batches(images: int, batch: int, steps: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Yield the indices (batch,) of each step's images: epochs in random order, without a last part that is smaller."""
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        if len(order) < batch:
            order = torch.randperm(images, generator=generator)
        chosen, order = order[:batch], order[batch:]
        yield chosen


def augmented(images: torch.Tensor, generator: torch.Generator, /, *, flip: bool, crop: int) -> torch.Tensor:
    """Mirror half of the uint8 images (n, h, w, 3) and shift each by up to `crop` pixels; return float (n, 3, h, w)."""
    pixels = images.permute(0, 3, 1, 2).float()
    n, _, height, width = pixels.shape
    if crop:
        padded = pad(pixels, (crop,) * 4, mode="reflect")
        top, left = torch.randint(0, 2 * crop + 1, (2, n, 1), generator=generator)
        rows = (top + torch.arange(height))[:, None, :, None]  # (n, 1, h, 1)
        columns = (left + torch.arange(width))[:, None, None, :]  # (n, 1, 1, w)
        pixels = padded[torch.arange(n)[:, None, None, None], torch.arange(3)[None, :, None, None], rows, columns]
    if flip:
        mirrored = torch.rand(n, generator=generator) < 0.5
        pixels = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
    return pixels


def _check(clip: Clip, images: NDArray[np.uint8], captions: list[str], batch: int) -> None:
    if len(images) != len(captions):
        raise ValueError(f"{len(images)} images but {len(captions)} captions")
    if len(images) < batch:
        raise ValueError(f"a batch of {batch} asks for at least as many images; there are {len(images)}")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise ValueError(f"images must be uint8 (n, h, w, 3), not {images.dtype} {images.shape}")


def _embedded(clip: Clip, pixels: torch.Tensor, tokens: torch.Tensor, caption: torch.Tensor, *, bf16: bool) -> Embedded:
    if tuple(pixels.shape[2:]) != clip.shape:
        pixels = torch.nn.functional.interpolate(pixels, clip.shape, mode="bicubic", antialias=True)
    mean, std = torch.tensor(clip.mean)[:, None, None], torch.tensor(clip.std)[:, None, None]
    distinct, place = torch.unique(caption, return_inverse=True)  # each caption goes through the tower once
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        image = clip.model.encode_image((pixels / 255 - mean) / std)
        text = clip.model.encode_text(tokens[distinct])
    bias = clip.model.logit_bias
    return Embedded(
        image=normalize(image.float(), dim=1),
        text=normalize(text.float(), dim=1)[place],
        logit_scale=clip.model.logit_scale.exp(),
        logit_bias=torch.zeros(()) if bias is None else bias,
        caption=caption,
    )


def _update(model: torch.nn.Module, loss: torch.Tensor, optimizers: list[torch.optim.Optimizer]) -> None:
    model.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
    with torch.no_grad():
        model.logit_scale.clamp_(0, LARGEST_LOGIT_SCALE)


def _optimizers(
    model: torch.nn.Module, lr: float, muon: float | None, weight_decay: float
) -> list[torch.optim.Optimizer]:
    """Make AdamW for all parameters, or Muon for the image tower's linear layers and AdamW for the rest."""
    for_muon = {} if muon is None else {id(weight): weight for weight in _linear_weights(model.visual)}
    rest = [p for p in model.parameters() if id(p) not in for_muon]
    matrices = [p for p in rest if p.ndim >= 2]
    vectors = [p for p in rest if p.ndim < 2]  # norms, biases, layer scales, logit scale: no decay
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), eps=1e-6)]
    if muon is not None:
        words = {"lr": muon, "weight_decay": weight_decay, "momentum": 0.95, "adjust_lr_fn": "match_rms_adamw"}
        optimizers.append(torch.optim.Muon(for_muon.values(), **words))
    return optimizers


def _linear_weights(tower: torch.nn.Module) -> Iterator[torch.nn.Parameter]:
    for module in tower.modules():
        if isinstance(module, torch.nn.MultiheadAttention):
            yield module.in_proj_weight
        elif isinstance(module, torch.nn.Linear):
            yield module.weight


def _rate(step: int, *, steps: int, warmup: float) -> float:
    """Return the share of the learning rate that a step has."""
    ramp = max(1, round(warmup * steps))
    if step < ramp:
        return (step + 1) / ramp
    return 0.5 * (1 + math.cos(math.pi * (step - ramp) / max(1, steps - ramp)))
